"""Many runs with a purpose: reproducing the papers, tuning, measuring intrinsic dimension."""
