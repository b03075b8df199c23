"""Work units on SLURM: an array of jobs for each kind of unit, after what it stands on, as plain sbatch scripts."""
