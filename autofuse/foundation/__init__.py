"""What every room stands on: errors, values on disk, whole files, locks, worker processes, the console, the machine."""
