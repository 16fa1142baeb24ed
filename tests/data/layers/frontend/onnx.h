/* a header of a planted tree: see tests/check_layers.cmake */
