"""Small architectures for tests, as TOML."""

from celosia.dataflow.hierarchy.architecture_file import parse_architecture

HEAD = """
name = "{name}"
[mac]
energy = 0.25
[[level]]
name = "dram"
holds = ["I", "W", "O"]
read_energy = 100.0
write_energy = 120
bandwidth = 3
"""

SMALL = """
[[level]]
name = "glb"
holds = ["I", "W"]
words = {glb}
energy = 3.0
read_bandwidth = 2
write_bandwidth = 5
[[level]]
name = "acc"
holds = ["O"]
words = {acc}
energy = 1.0
[[level]]
name = "reg"
holds = ["W"]
words = 1
energy = 0.1
[[axis]]
name = "columns"
size = 2
spreads = ["K"]
above = "acc"
[[axis]]
name = "rows"
size = 2
spreads = ["C"]
above = "reg"
"""

LEAN = """
[[level]]
name = "glb"
holds = ["I", "W"]
words = {glb}
energy = 3.0
[[level]]
name = "acc"
holds = ["O"]
words = {acc}
energy = 1.0
[[axis]]
name = "columns"
size = 2
spreads = ["K"]
above = "acc"
"""

DEEP = """
[[level]]
name = "glb"
holds = ["I", "O"]
words = 60
energy = 6.125
[[level]]
name = "pad"
holds = ["W", "I", "O"]
words = 20
read_energy = 0.5
write_energy = 0.75
bandwidth = 7
[[axis]]
name = "grid"
size = 4
spreads = ["C", "P", "K"]
above = "pad"
[[axis]]
name = "lanes"
size = 3
spreads = ["C", "S"]
[accounting]
drain_reads = false
first_reads = true
"""

FLAT = """
[[axis]]
name = "lanes"
size = 3
spreads = ["K", "Q"]
"""


def small(glb=24, acc=4, accounting=""):
    text = HEAD.format(name="small") + SMALL.format(glb=glb, acc=acc)
    return parse_architecture(text + accounting, "small.toml")


def lean(glb, acc, accounting=""):
    text = HEAD.format(name="lean") + LEAN.format(glb=glb, acc=acc)
    return parse_architecture(text + accounting, "lean.toml")


def deep():
    return parse_architecture(HEAD.format(name="deep") + DEEP, "deep.toml")


def flat():
    return parse_architecture(HEAD.format(name="flat") + FLAT, "flat.toml")


def random_levels(rng, count):
    """Return an architecture of ``count`` levels below the outermost: any that tensors pass by."""
    text = HEAD.format(name=f"random{count}")
    for place in range(count):
        holds = rng.sample("IWO", rng.choice((1, 1, 2)) if count > 2 else rng.choice((1, 2, 3)))
        held = ", ".join(f'"{tensor}"' for tensor in sorted(holds))
        text += f"""
[[level]]
name = "level{place}"
holds = [{held}]
words = {rng.randint(2, 8)}
read_energy = {rng.randint(1, 40) / 8}
write_energy = {rng.randint(1, 40) / 8}
bandwidth = {rng.randint(1, 9)}
"""
    text += f'''
[[axis]]
name = "lanes"
size = {rng.choice((2, 3))}
spreads = ["{rng.choice("CKP")}"]
above = "level{rng.randrange(count)}"
'''
    return parse_architecture(text, f"random{count}.toml")
