"""HTTP: routes, access, problem documents, streams. Decides nothing that :mod:`service.scheduling` could."""
