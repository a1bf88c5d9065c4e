"""One backend timed in a process of its own: MODEL PROFILE BACKEND ROUNDS DEVICE -> JSON. For `sfv optimize`."""

import json
import sys

from sfv.errors import SfvError
from sfv.speed.search import timed

if __name__ == "__main__":
    name, profile, backend, rounds, device = sys.argv[1:]
    try:
        print(json.dumps(timed(name, profile, backend, int(rounds), device)))
    except SfvError as error:
        sys.exit(str(error))
