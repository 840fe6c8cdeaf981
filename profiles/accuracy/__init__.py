"""How good the masks of bundles are, beside their sizes and times: `sam-export compare`.

cases.py     pictures with prompts, the same for every bundle
answers.py   a bundle's masks for them
rows.py      a bundle's figures: against a reference, and against the objects that are known
latency.py   times of a call here, the bundles taking turns
contest.py   bundles -> figures
tables.py    figures -> text, or plain data
page.py      figures -> one HTML page with overlays and plots
cli.py       the command
"""
