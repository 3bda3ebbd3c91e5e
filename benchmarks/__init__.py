"""Programs that measure; run by hand, never by a test. Each prints figures beside a limit measured in the same run."""
