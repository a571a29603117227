"""What everything else rests on: checks of values, random numbers, devices, compilers."""
