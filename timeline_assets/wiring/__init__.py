"""Dagster: which assets there are, when they run, what they show.

No logic of its own: what a window is, what an answer means and whose an event is are decided in the stages, which are
plain functions that know nothing of Dagster. Here is only what a person sees of them (keys, groups, metadata, checks)
and what sets them off (follower, sensors, schedules, backfills).
"""
