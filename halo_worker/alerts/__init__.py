"""Between reports: what `[alerts.NAME]` looks for, the record of it, and the messages that it makes.

A look (`look`) runs rules that are certain, and each about one trace alone, over what arrived since the last one. The
conditions (`conditions`) decide from the record (`journal`) which episodes begin and end; an episode is recorded before
its message (`messages`) is published, and delivered by the courier of reports.
"""
