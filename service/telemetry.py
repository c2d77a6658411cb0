"""Kompas's own metrics: every object on one registry, so that each process exposes just these."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # -- not annotated by the library

REGISTRY = CollectorRegistry()

# --- HTTP ------------------------------------------------------------------------------------

REQUESTS = Counter(
    "kompas_http_requests",
    "Requests answered, by method, route template and status code.",
    ("method", "route", "status"),
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "kompas_http_request_seconds",
    "Duration of a request, from its first byte to the end of its answer, by route template.",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)

# --- Ingestion -------------------------------------------------------------------------------

EVENTS = Counter(
    "kompas_events",
    "Events received, by kind and outcome: accepted, duplicate or rejected.",
    ("kind", "outcome"),
    registry=REGISTRY,
)
REJECTIONS = Counter(
    "kompas_rejections", "Events refused, by the code of the reason.", ("code",), registry=REGISTRY
)
CLOCK_SKEWED_EVENTS = Counter(
    "kompas_clock_skewed_events",
    "Events whose time was corrected because the client's clock was wrong.",
    registry=REGISTRY,
)
BATCH_EVENTS = Histogram(
    "kompas_batch_events",
    "Events that were committed together.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000),
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "kompas_commit_seconds",
    "Duration of one commit of a batch, from sending its statement to the database's answer.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=REGISTRY,
)
COMMIT_FAILURES = Counter(
    "kompas_commit_failures", "Attempts to commit a batch that failed.", registry=REGISTRY
)
PENDING_EVENTS = Gauge(
    "kompas_pending_events", "Events in memory that wait for their commit.", registry=REGISTRY
)

# --- Clients -----------------------------------------------------------------------------------

CONNECTIONS = Gauge("kompas_connections", "Open connections of clients.", registry=REGISTRY)
CONNECTIONS_CLOSED = Counter(
    "kompas_connections_closed",
    "Connections closed because their client kept the service waiting, by rule; idle ones too.",
    ("reason",),
    registry=REGISTRY,
)

# --- Outages of the database -------------------------------------------------------------------

OUTAGE = Gauge(
    "kompas_outage",
    "1 while events go to the spool because Postgres does not take them.",
    registry=REGISTRY,
)
REPLAY_FAILURES = Counter(
    "kompas_replay_failures",
    "Attempts to bring the spool into Postgres that failed; they are made again.",
    registry=REGISTRY,
)
CANARY_AGE = Gauge(
    "kompas_canary_age_seconds",
    "Seconds since the last canary came through, by path: postgres or spool.",
    ("path",),
    registry=REGISTRY,
)

# --- Projection ------------------------------------------------------------------------------

PROJECTED_EVENTS = Counter(
    "kompas_projected_events", "Events of the log that were projected.", registry=REGISTRY
)
PROJECTION_SECONDS = Histogram(
    "kompas_projection_seconds",
    "Duration of one projection transaction, from the choice of batches to the commit.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
PROJECTION_LAG = Gauge(
    "kompas_projection_lag_seconds",
    "Seconds since the receipt of the oldest batch that waits for projection; 0 when none waits.",
    registry=REGISTRY,
)
PROJECTION_FAILURES = Counter(
    "kompas_projection_failures",
    "Projection transactions rolled back, by cause: environment (will pass) or batch.",
    ("cause",),
    registry=REGISTRY,
)
PARKED_BATCHES = Counter(
    "kompas_parked_batches",
    "Batches set aside because they failed again and again by themselves.",
    registry=REGISTRY,
)
ROLLUP_ROWS = Counter(
    "kompas_rollup_rows", "Rows appended to the quarter-hour rollup.", registry=REGISTRY
)

# --- Self-check --------------------------------------------------------------------------------

SELFCHECK_SLICES = Counter(
    "kompas_selfcheck_slices",
    "Random slices recounted by the worker, by outcome: equal, different, or given_up (it took too"
    " long).",
    ("outcome",),
    registry=REGISTRY,
)
SELFCHECK_DIFFERENCES = Counter(
    "kompas_selfcheck_differences",
    "Differences that the self-check found between log, facts and rollups; must be 0.",
    registry=REGISTRY,
)
SELFCHECK_AGE = Gauge(
    "kompas_selfcheck_age_seconds",
    "Seconds since a slice was recounted to its end, by where it lay: new (the newest two days of"
    " its site) or any.",
    ("slice",),
    registry=REGISTRY,
)

# --- Snapshots for Prometheus ----------------------------------------------------------------

SNAPSHOT_SECONDS = Histogram(
    "kompas_snapshot_seconds",
    "Duration of one refresh of the published KPIs of all sites.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
SNAPSHOT_FAILURES = Counter(
    "kompas_snapshot_failures",
    "Refreshes of a site's published KPIs that failed; the old ones stay.",
    registry=REGISTRY,
)

# --- Users' own KPIs --------------------------------------------------------------------------

KPI_DEFINITIONS_INVALID = Counter(
    "kompas_kpi_definitions_invalid",
    "Stored KPIs found invalid and left out; the log says which.",
    registry=REGISTRY,
)

# --- Spool -----------------------------------------------------------------------------------

SPOOL_BYTES = Gauge(
    "kompas_spool_bytes",
    "Bytes of the spool's segments, those of dead processes that were taken over included.",
    registry=REGISTRY,
)
SPOOL_RECORDS = Gauge(
    "kompas_spool_records",
    "Flushes in the spool that wait for their replay.",
    registry=REGISTRY,
)
SPOOLED_EVENTS = Counter(
    "kompas_spooled_events",
    "Events made durable in the spool instead of the database.",
    registry=REGISTRY,
)
SPOOL_DAMAGED_RECORDS = Counter(
    "kompas_spool_damaged_records",
    "Records that a replay passed over: damaged, unreadable (another format), stuck (Postgres took"
    " them at no attempt), or torn, which were never acknowledged.",
    ("kind",),
    registry=REGISTRY,
)
SPOOL_FAILURES = Counter(
    "kompas_spool_failures",
    "Errors of the spool's disk, by what was to be done; hang: it did not answer.",
    ("action",),
    registry=REGISTRY,
)
