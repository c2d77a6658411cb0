"""The spool: what was acknowledged while Postgres was away, in files that outlive the process."""
