"""The table of cases with the agents' own plugins: python -m tests.lab.agents"""
