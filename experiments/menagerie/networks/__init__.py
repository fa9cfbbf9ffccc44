"""Networks of packages on the index: a module for each package, a function for each network.

A function returns the arguments of `jaxnn.diagnose` by their names; its docstring is the name of
the network. Modules import their package, so that they are imported only where it is installed.
"""
