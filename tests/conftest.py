"""What every test shares."""

from hypothesis import settings

# The machines are shared and noisy: a slow example is no failing one.
settings.register_profile("calltape", deadline=None)
settings.load_profile("calltape")
