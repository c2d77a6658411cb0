"""The pixel: durable (the answer leaves after COMMIT), beside an application that does nothing."""

from __future__ import annotations

from tests.bench.bare import bare_service
from tests.bench.load import Load, data_folder, wrk
from tests.bench.sizes import Sizes
from tests.running import Service, kompas_serve

CONNECTIONS = 64
PAGE = "url=https%3A%2F%2Fshop.example%2Fshoes%3Futm_source%3Dgoogle%26utm_medium%3Dcpc"


def public_key(service: Service) -> str:
    """A key such as a web page carries."""
    body = {"site": "default", "name": "bench", "scopes": ["public"]}
    return str(service.post("/v1/keys", body).json["key"])


def line(name: str, load: Load) -> str:
    """One row of the table."""
    bad = f"  {load.bad} BAD ANSWERS" if load.bad else ""
    return (
        f"  {name:<34}{load.rate:>9,.0f}/s   p50 {load.p50:6.2f} ms   p99 {load.p99:6.2f} ms{bad}"
    )


def pixel_door(sizes: Sizes) -> None:
    """Print requests a second and latencies, alone and with 64 connections."""
    print(f"Pixel, keep-alive, wrk with {CONNECTIONS} connections, {sizes.seconds} s")
    with bare_service() as url:
        bare = wrk(f"{url}?k=pk_x&{PAGE}", connections=CONNECTIONS, seconds=sizes.seconds)
    print(line("bare uvicorn application", bare))
    with data_folder() as folder, kompas_serve(KOMPAS_DATA_DIR=f"{folder}/kompas") as service:
        url = f"{service.url}/v1/pixel.gif?k={public_key(service)}&{PAGE}"
        wrk(url, connections=CONNECTIONS, seconds=1)  # warm: the load's own user agent, salts
        load = wrk(url, connections=CONNECTIONS, seconds=sizes.seconds)
        alone = wrk(url, connections=1, seconds=min(3, sizes.seconds))
    print(line("Kompas pixel, durable, projected", load))
    print(line("the same, one connection alone", alone))
    print(f"  ratio to the floor {load.rate / bare.rate:.2f}\n")
