"""What every test shares."""

from hypothesis import settings

from tests.support.databases import database, database_url, migrated_file, migrated_url, postgres, reused

__all__ = ["database", "database_url", "migrated_file", "migrated_url", "postgres", "reused"]

# The machines are shared and noisy: a slow example is no failing one.
settings.register_profile("calltape", deadline=None)
settings.load_profile("calltape")
