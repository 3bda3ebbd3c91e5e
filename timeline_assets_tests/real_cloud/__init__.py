"""The product against a real OpenStack: what it tells is compared with the ledger of what was done.

`pytest -m cloud` brings the cloud up, lets tenants and an operator work in it while `timeline follow` watches
(`story.py`), and then only looks: every test reads what that left behind, in the database and in the ledger. `told.py`
is the table that says, deed by deed, what the timeline has to tell of it and what no listing can show.

| variable | meaning |
|---|---|
| `TIMELINE_TEST_CLOUD` | folder of a cloud to work in instead: brought up if it is not, and left running |
| `TIMELINE_TEST_STORY` | folder in which the story is kept: told once, and only looked at the next time |
"""
