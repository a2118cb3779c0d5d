"""Did a fix work: an issue's own rule on both sides of a change, compared exactly.

`plan` reads which sides are meant, `sides` opens them as one window and says of each trace where it belongs, `measure`
runs the rules, `judged` has a model judge where there is none, `groups` looks for what else shifted, `history` counts
from reports where traces are gone, `conductor` puts a verification together, `text` writes it.
"""
