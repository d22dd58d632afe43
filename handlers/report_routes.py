"""The URLs of usage: pages, their events and export, and the same as JSON. One line a route."""

from __future__ import annotations

from typing import Any

from handlers.model_page import ModelsPageHandler
from handlers.overview_pages import EventsHandler, OverviewHandler
from handlers.page import PageHandler, Site
from handlers.provider_page import ProvidersHandler, ProviderTestHandler
from handlers.report_api import (
    ModelsApiHandler,
    ProvidersApiHandler,
    ProviderTestApiHandler,
    RequestsApiHandler,
    StateApiHandler,
    UsageApiHandler,
)
from handlers.reporting import Reporting
from handlers.request_pages import RequestsCsvHandler, RequestsHandler

NAME = r"([^/]+)"
Route = tuple[str, type[PageHandler], dict[str, Any]]


def report_routes(site: Site, reporting: Reporting) -> list[Route]:
    """Every page and every endpoint of usage."""
    given = {"site": site, "reporting": reporting}
    return [
        (r"/dashboard", OverviewHandler, given),
        (r"/dashboard/events", EventsHandler, given),
        (r"/dashboard/requests", RequestsHandler, given),
        (r"/dashboard/requests\.csv", RequestsCsvHandler, given),
        (r"/dashboard/models", ModelsPageHandler, given),
        (r"/dashboard/admin/providers", ProvidersHandler, given),
        (rf"/dashboard/admin/providers/{NAME}/test", ProviderTestHandler, given),
        (r"/api/v1/usage", UsageApiHandler, given),
        (r"/api/v1/requests", RequestsApiHandler, given),
        (r"/api/v1/models", ModelsApiHandler, given),
        (r"/api/v1/providers", ProvidersApiHandler, given),
        (rf"/api/v1/providers/{NAME}/test", ProviderTestApiHandler, given),
        (r"/api/v1/state", StateApiHandler, given),
    ]
