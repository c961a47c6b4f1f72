"The control panel inside JupyterLab"
