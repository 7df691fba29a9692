"""The doctor: do this model's energies and accuracies mean anything? A table of checks, each with a finding."""

from energylens.checks.examination import examine, remarks
from energylens.checks.finding import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "examine", "remarks"]
