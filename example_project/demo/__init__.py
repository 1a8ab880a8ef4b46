"""The show around the example. The example itself is app.py, tasks.py and producer.py."""
