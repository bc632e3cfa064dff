"""The only writers on a node: plans of changes, atomic files, install, uninstall, owners, removal of records."""
