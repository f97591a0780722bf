"""JupyterLab in a browser: a notebook's cells, and Dask's panel."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from .chromium import Page
from .jupyter_process import JupyterProcess

NOTEBOOK = "//div[contains(@class,'jp-NotebookPanel') and not(contains(@class,'lm-mod-hidden'))]"
PANEL = "//div[contains(@class,'dask-DaskSidebar')]"
DIALOG = "//dialog[contains(@class,'jp-Dialog')]"
CLUSTER_MANAGER = f"{PANEL}//div[contains(@class,'dask-DaskClusterManager')]"
CLUSTERS = f"{PANEL}//li[contains(@class,'dask-ClusterListingItem')]"

# JupyterLab's own objects, for what its window does not show: it says idle before there is a kernel
KERNEL = "const kernel = jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel;"
IS_IDLE = f"{KERNEL} return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';"
LISTEN = f"{KERNEL} window.heard = []; kernel.statusChanged.connect((_, status) => window.heard.push(status));"
HAS_RESTARTED = "return window.heard.includes('restarting');"


def has_class(name: str) -> str:
    """An XPath condition: the element has this class."""
    return f"contains(concat(' ',@class,' '),' {name} ')"


class Lab:
    """A JupyterLab that a user looks at."""

    def __init__(self, page: Page, jupyter: JupyterProcess) -> None:
        self.page = page
        self.jupyter = jupyter

    def open(self, path: str = "") -> None:
        """Open it, at a notebook if a path is given, with nothing else in its window."""
        place = f"tree/{path}" if path else ""
        self.page.driver.get(f"{self.jupyter.url}lab/{place}?reset&token={self.jupyter.token}")
        self.page.find("//div[@id='jp-main-dock-panel']")
        self.page.until_gone("//div[@id='jupyterlab-splash']")

    # -- notebooks -----------------------------------------------------------------------------------------------------

    def open_notebook(self, name: str, *cells: str) -> None:
        """Open a notebook of these cells, and wait for its kernel."""
        self.open(self.jupyter.write_notebook(name, *cells))
        self.until_idle()

    def until_idle(self) -> None:
        """Until the notebook's kernel is connected and has nothing to do; a cell that is run earlier is lost."""
        self.page.until(lambda: self.page.driver.execute_script(IS_IDLE), "the kernel is idle")

    def cell(self, number: int) -> str:
        """The XPath of a cell."""
        return f"({NOTEBOOK}//div[{has_class('jp-CodeCell')}])[{number + 1}]"

    def run(self, number: int) -> None:
        """Run a cell by Shift+Enter, and wait for its end."""
        editor = f"{self.cell(number)}//div[{has_class('cm-content')}]"
        prompt = f"{self.cell(number)}//div[{has_class('jp-InputArea-prompt')}]"
        self.page.click(editor)
        self.page.find(editor).send_keys(Keys.SHIFT, Keys.ENTER)
        self.page.until(lambda: self.page.find(prompt).text.strip("[]: ").isdigit(), f"cell {number} has run")

    def output(self, number: int) -> str:
        """The XPath of what a cell shows."""
        return f"{self.cell(number)}//div[{has_class('jp-Cell-outputArea')}]"

    def restart_kernel(self) -> None:
        """Restart the notebook's kernel by its menu."""
        self.page.driver.execute_script(LISTEN)
        self.page.click("//li[@role='menuitem'][normalize-space()='Kernel']")
        self.page.click("//li[@data-command='kernelmenu:restart']")
        self.page.click(f"{DIALOG}//button[{has_class('jp-mod-accept')}]")
        self.page.until(lambda: self.page.driver.execute_script(HAS_RESTARTED), "the kernel is restarted")
        self.until_idle()

    # -- Dask's panel --------------------------------------------------------------------------------------------------

    def open_panel(self) -> None:
        """Open Dask's panel in the side bar."""
        self.page.click("//li[@data-id='dask-dashboard-launcher']")
        self.page.find(PANEL)
        self.page.drag("//div[@id='jp-main-split-panel']/div[contains(@class,'lm-SplitPanel-handle')]", 120)

    def entries(self) -> list[str]:
        """The ids of the clusters that the panel lists."""
        found = self.page.driver.find_elements("xpath", CLUSTERS)
        return [str(element.get_attribute("data-cluster-id")) for element in found]

    def entry(self, scheduler_address: str) -> str:
        """The XPath of the cluster with that scheduler in the panel's list."""
        return f"{CLUSTERS}[.//div[@title='{scheduler_address}']]"
