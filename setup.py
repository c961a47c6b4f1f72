"Build the package from the metadata in settings.ini; edit it there, not here."
import shlex
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
lib = cfg["lib_name"]


class WithNotebook(build_py):
    "The panel's notebook goes into the package too: an installed `kalshi-mm lab` has to have it"

    def run(self):
        super().run()
        notebook = here / cfg["nbs_path"] / "control_panel.ipynb"
        if notebook.is_file() and not self.editable_mode:
            self.copy_file(str(notebook), str(Path(self.build_lib) / lib / notebook.name))


setup(
    name=lib,
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license={"apache2": "Apache-2.0", "mit": "MIT"}.get(cfg["license"], cfg["license"]),
    keywords=cfg["keywords"].split(),
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[lib, f"{lib}.*"]),
    package_data={lib: ["py.typed", "presets/*.toml"], f"{lib}.panel": ["static/*"], f"{lib}.sandbox": ["calibration.json"],
                  f"{lib}.research": ["fill_models.toml", "own_error.json", "report.html"]},
    data_files=[("etc/jupyter/jupyter_server_config.d", ["jupyter-config/kalshi_mm.json"])],
    cmdclass={"build_py": WithNotebook},
    install_requires=shlex.split(cfg.get("requirements", "")),
    extras_require={extra: shlex.split(cfg.get(f"{extra}_requirements", ""))
                    for extra in ("research", "cluster", "lab", "alerts", "dev")},
    entry_points={
        "console_scripts": shlex.split(cfg.get("console_scripts", "")),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
)
