"""The ground floor for SQL: tables, engine, partitions, the embedded Postgres."""
