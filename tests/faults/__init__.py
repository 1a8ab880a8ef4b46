"""The fault campaign: break everything under load, at random moments, and count what the tasks themselves say.

``scene`` is what gets broken (workers, a broker, the semaphore's Redis), ``load`` keeps it busy, ``observer`` watches
the leases, ``campaign`` runs one fault and ``judge`` turns the log of starts and ends into figures. The faults are in
the ``*_faults`` modules; ``matrix`` says which strikes where.
"""
