from compiling import compile_quickly  # noqa: F401 (a fixture of this folder)
