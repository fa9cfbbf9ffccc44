"""Networks of packages on the index: a module for each package, with a table `NETWORKS`.

An entry has the title of the network, and a function that returns the arguments of
`jaxnn.diagnose` by their names. Modules import their package, so that they are imported only where
it is installed.
"""
