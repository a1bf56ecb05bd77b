"""What the page of the account tells of its use."""

import re

from conftest import WORK_LIMIT_MS, Visitor
from playwright.sync_api import FilePayload, expect
from running_system import RunningSystem

UNITS = {"bytes": 1, "kB": 1000, "MB": 1000**2}


def _difference(visitor: Visitor, name: str, size_bytes: int) -> float:
    """Return by how much a line of the usage differs from a size, in tenths of its own unit."""
    line = visitor.page.locator(".usage > div", has_text=name).locator("dd")
    amount = re.match(r"([\d.]+) (\w+)", line.inner_text())
    assert amount, name
    unit_bytes = UNITS[amount[2]]
    return 10 * abs(float(amount[1]) * unit_bytes - size_bytes) / unit_bytes


def test_space_is_that_of_all_files(
    visitor: Visitor, system: RunningSystem, video_url: str
) -> None:
    page = visitor.page
    visitor.open("brand")
    picture = page.locator("header .brand").screenshot()
    logo = FilePayload(name="logo.png", mimeType="image/png", buffer=picture)
    page.fill("#brand-name", "Ours")
    page.set_input_files("#brand-watermark", logo)
    page.get_by_role("button", name="Make the brand").click()
    page.wait_for_selector(".good")
    visitor.open("new")
    page.locator("summary").click()
    page.get_by_label("Show me the plan first").check(force=True)
    page.fill("#links", video_url)
    page.locator("form button.primary").click()
    page.wait_for_selector(".title-row .status.planned", timeout=WORK_LIMIT_MS)
    limit = '{"size_bytes": 50000000}'
    system.execute(f"UPDATE users SET quotas = '{limit}' WHERE email = '{visitor.email}'")
    used = visitor.context.request.get(f"{visitor.base_url}/usage").json()
    assert used["sources_bytes"] > 0 < used["brands_bytes"]
    visitor.open("account")
    expect(page.locator(".usage > div", has_text="Space used")).to_contain_text("/ 50 MB")
    for name, kinds in {
        "Videos of planned tasks": ["sources"],
        "Brand files": ["brands"],
        "Space used": ["clips", "uploads", "sources", "brands"],
    }.items():
        size_bytes = sum(used[f"{kind}_bytes"] for kind in kinds)
        assert _difference(visitor, name, size_bytes) < 1, name
