"""What a model may call to look at the window. Names and arguments as HALO's engine has them, and three of ours."""

from __future__ import annotations

from halo_worker.analysis.tools.overview import overview_tools
from halo_worker.analysis.tools.search import search_tools
from halo_worker.analysis.tools.shared import Desk
from halo_worker.analysis.tools.sql import sql_tool
from halo_worker.analysis.tools.synthesis import Ask, synthesis_tool
from halo_worker.analysis.tools.views import view_tools
from halo_worker.rlm.tool import Tool

__all__ = ["Desk", "window_tools"]


def window_tools(desk: Desk, ask: Ask) -> tuple[Tool, ...]:
    """Return the tools over one window; `ask` asks the sub model."""
    return (*overview_tools(desk), *view_tools(desk), *search_tools(desk), sql_tool(desk), synthesis_tool(desk, ask))
