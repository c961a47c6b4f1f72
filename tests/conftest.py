"What all tests share"
from hypothesis import settings

# no test asserts a time: a busy machine is slow, not wrong
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
