"""The doctor: do this model's energies and accuracies mean anything? A table of checks, each with a finding."""

from energylens.doctor.examination import examine, remarks
from energylens.doctor.finding import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "examine", "remarks"]
