"""Removal of a person's data: from segments, spool and what lies beside, and from what reports and alerts quote."""
