"""List what axe-core finds wrong with a page. Run: python -m tests.benchmarks.accessibility AXE_MIN_JS PAGE...

Needs Chromium and axe-core (`npm install axe-core`; node_modules/axe-core/axe.min.js). Looks at each page as on a phone
and on a desk, in light and in dark, and prints every rule that is broken; ends with code 1 if any is.
"""

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.arguments import parser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """
<script>
document.querySelectorAll('details').forEach(each => { each.open = true; });
axe.run(document, {runOnly: %s}).then(found => {
  const told = document.createElement('pre');
  told.id = 'axe-found';
  told.textContent = JSON.stringify({
    passes: found.passes.length,
    violations: found.violations.map(v => [v.id, v.impact, v.nodes.length, v.nodes[0].failureSummary]),
  });
  document.body.appendChild(told);
});
</script>
"""


def found(page: str, axe: str, width: int, dark: bool) -> tuple[int, list[list[str]]]:
    """Rules that were kept, and those that were not."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no chromium on the path")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "page.html"
        script = f"<script>{axe}</script>{RUN % json.dumps(RULES)}</body>"
        path.write_text(page.replace("</body>", script))
        shown = subprocess.run(
            [
                *(chromium, "--headless=old", "--no-sandbox", "--disable-gpu", "--dump-dom"),
                *(f"--window-size={width},2000", f"--blink-settings=preferredColorScheme={0 if dark else 1}"),
                *("--virtual-time-budget=60000", path.as_uri()),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    told = re.search(r'<pre id="axe-found">(.*?)</pre>', shown.stdout, re.DOTALL)
    if told is None:
        raise SystemExit("axe-core gave no result")
    result = json.loads(html.unescape(told[1]))
    return result["passes"], result["violations"]


def main(axe: str, *pages: str) -> int:
    """Print what is found."""
    wrong = 0
    for page in pages:
        for width in (360, 1400):
            for dark in (False, True):
                passed, violations = found(Path(page).read_text(), Path(axe).read_text(), width, dark)
                title = f"{page} at {width} px, {'dark' if dark else 'light'}"
                print(f"{title}: {passed} rules kept, {len(violations)} broken")
                for rule, impact, nodes, text in violations:
                    print(f"  {rule} ({impact}, {nodes} places): {' '.join(text.split())[:300]}")
                wrong += len(violations)
    return 1 if wrong else 0


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("axe", help="axe-core's axe.min.js")
    command.add_argument("pages", nargs="+", help="HTML files")
    given = command.parse_args()
    sys.exit(main(given.axe, *given.pages))
