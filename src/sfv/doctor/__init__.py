"""`sfv doctor`: what this machine has, what would be used of it, what is missing, and the cure. Repairs nothing."""

from sfv.doctor.examination import examine
from sfv.doctor.report import Diagnosis

__all__ = ["Diagnosis", "examine"]
