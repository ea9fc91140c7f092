"""Collect: who is asked when. `runner.collect` asks every endpoint whatever the store does not hold yet."""
