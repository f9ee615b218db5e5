"""Names in pickles: those that only an attack needs, and those of plain data.

The table of attacks starts from that of picklescan (github.com/mmaitre314/picklescan, scanner.py) and adds the modules
that run code, load code, reach the network or change the process in Python's own library. Nothing that a pickle names
is ever imported; a file that names these is refused as a whole, since its author meant it to run something.
"""

import builtins

ATTACK_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "shutil", "pty", "commands", "popen2", "_winapi"),
    *("importlib", "imp", "runpy", "pkgutil", "zipimport", "code", "codeop", "marshal", "ctypes", "_ctypes", "cffi"),
    *("pickle", "_pickle", "cPickle", "shelve", "dill", "cloudpickle", "jsonpickle", "atexit"),
    *("socket", "_socket", "ssl", "asyncio", "aiohttp", "requests", "httpx", "urllib", "urllib2", "http", "httplib"),
    *("ftplib", "smtplib", "imaplib", "poplib", "telnetlib", "xmlrpc", "webbrowser", "socketserver", "paramiko"),
    *("multiprocessing", "_thread", "linecache", "tempfile"),
    *("pdb", "bdb", "cProfile", "profile", "trace", "timeit", "doctest", "pydoc", "idlelib", "lib2to3", "cgitb"),
    *("pip", "ensurepip", "venv", "distutils", "setuptools", "_bootlocale", "_aix_support", "_osx_support"),
    *("numpy.testing", "numpy.f2py", "numpy.distutils", "numpy.ctypeslib", "torch.hub", "torch.jit", "torch.package"),
    *("torch._dynamo.guards", "torch._inductor", "torch.utils.cpp_extension", "torch.utils.bottleneck"),
    *("torch.utils.model_zoo", "torch.utils.collect_env", "torch.utils._config_module", "torch.fx.experimental"),
    *("torch.multiprocessing", "torch._ops", "torch.ops", "torch.library"),
}
"""Modules of which no name occurs in an honest checkpoint of weights, with all inside them."""

BUILTINS = ("builtins", "__builtin__", "__builtins__")

ATTACK_FUNCTIONS = {
    *(name for name, value in vars(builtins).items() if callable(value) and not isinstance(value, type)),
    *("map", "filter", "super", "memoryview"),
    *("apply", "execfile", "file", "raw_input", "reload", "reduce", "__build_class__"),
}
"""Functions of Python, of which data needs none; classes that call others; and what Python 2 had."""

ATTACK_NAMES = {
    ("torch", "load"),
    ("torch.serialization", "load"),
    ("torch", "compile"),
    ("numpy", "load"),
    ("numpy", "save"),
    ("numpy", "memmap"),
    ("numpy", "fromfile"),
    ("io", "open"),
    ("io", "open_code"),
    ("io", "FileIO"),
    ("_io", "open"),
    ("_io", "FileIO"),
    ("codecs", "open"),
    ("logging", "FileHandler"),
    ("logging.config", "dictConfig"),
    ("types", "CodeType"),
    ("types", "FunctionType"),
    ("types", "LambdaType"),
    ("types", "MethodType"),
    ("operator", "attrgetter"),
    ("operator", "itemgetter"),
    ("operator", "methodcaller"),
    ("_operator", "attrgetter"),
    ("_operator", "itemgetter"),
    ("_operator", "methodcaller"),
    ("functools", "reduce"),
    ("_functools", "reduce"),
    ("uuid", "_get_command_stdout"),
    ("uuid", "_popen"),
    ("platform", "popen"),
}
"""Further names of attacks, in modules whose other names are honest."""

INDIRECT_CALLS = {
    ("functools", "partial"),
    ("_functools", "partial"),
    *((module, "getattr") for module in BUILTINS),
}
"""Functions that honest pickles name too, for an optimizer with its options or a bound method: only their arguments
tell an attack."""


def is_attack(module: str, name: str) -> bool:
    """Whether only an attack needs the name; one with dots leads from attribute to attribute, perhaps to such a name.

    Args:
        module: The module as the pickle has it.
        name: The name in the module.
    """
    steps = module.split(".")
    if any(".".join(steps[:count]) in ATTACK_MODULES for count in range(1, len(steps) + 1)):
        return True
    if (module, name) in INDIRECT_CALLS:
        return False
    if (module, name) in ATTACK_NAMES or (module in BUILTINS and name in ATTACK_FUNCTIONS):
        return True
    attributes = name.split(".")
    return len(attributes) > 1 and any(
        attribute in ATTACK_MODULES or attribute in ATTACK_FUNCTIONS or attribute.startswith("__")
        for attribute in attributes
    )


PLAIN = (
    *("builtins.", "__builtin__.", "collections.", "datetime.", "pathlib.", "argparse.", "decimal.", "typing."),
    *("numpy._core.multiarray.", "numpy.core.multiarray.", "numpy.dtype", "_codecs.", "copyreg.", "copy_reg."),
    *("torch.Tensor", "torch.device", "torch.nn.parameter."),
)


def is_plain(name: str) -> bool:
    """Whether the name is of plain data: numbers, times, paths, dtypes of torch. These are not worth a mention.

    Args:
        name: The module and the name in it, joined by a dot.
    """
    return name.startswith(PLAIN) or (name.count(".") == 1 and name.startswith("torch.") and name.islower())
