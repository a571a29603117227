"""The ground floor: checks of values, random numbers, devices, compilers."""
