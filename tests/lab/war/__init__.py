"""The war for one directory and its end, fought by the agents' own writers:  python -m tests.lab.war"""
