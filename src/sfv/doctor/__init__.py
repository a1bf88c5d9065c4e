"""`sfv doctor`: what this machine has, what would be used of it, what is missing, and the cure. Repairs nothing."""

from sfv.doctor.diagnose import examine
from sfv.doctor.diagnosis import Diagnosis

__all__ = ["Diagnosis", "examine"]
