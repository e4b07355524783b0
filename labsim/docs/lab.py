"""The gdb command `lab`: which simulated thread this is, and where the others are.

Load it with `source labsim/docs/lab.py`, and say `lab` wherever a simulation
has stopped. The thread that runs is marked with a star. It reads memory and
changes nothing. It knows labsim's tables by their fields, and those of std's
`Vec`, `String`, `Cow` and `Location`: when one of these changes, so must this
file. Checked with gdb 13 and Rust 1.95.

Boundary: reads `Core` and `Schedule`. Calls no function of the program.
"""

import gdb

CORE = "labsim::sim::core::Core"


def find(address, path, of):
    """The address and type of a field, by the names that lead to it."""
    for name in path.split("."):
        field = next(field for field in of.fields() if field.name == name)
        address, of = address + field.bitpos // 8, field.type.strip_typedefs()
    return address, of


def load(address, path, of):
    """A field's value. Only this field is read: gdb 13 cannot read a whole `Core`."""
    address, of = find(address, path, of)
    return gdb.Value(address).cast(of.pointer()).dereference()


def text(first, length):
    """So many bytes of the program's memory, as a string."""
    return bytes(gdb.selected_inferior().read_memory(int(first), int(length))).decode()


def place(location):
    """A `&Location`, as file:line."""
    address, of = int(location), location.type.target()
    name = load(address, "filename.pointer", of)
    return f"{text(name['data_ptr'], name['length'])}:{int(load(address, 'line', of))}"


def name_of(slot, of_slot):
    """A thread's name, a `Cow<str>`: gdb prints a borrowed one, and of an owned one the fields."""
    printed = str(load(slot, "name", of_slot))
    if "::Owned(" not in printed:
        return printed.split('"')[1] if '"' in printed else printed
    first = load(slot, "name.Owned.__0.vec.buf.inner.ptr.pointer.pointer", of_slot)
    return text(first, load(slot, "name.Owned.__0.vec.len", of_slot))


class Lab(gdb.Command):
    """Lists the simulated threads: `*` the one that runs, name, node, state, place, since when."""

    def __init__(self):
        super().__init__("lab", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        frame = gdb.newest_frame()
        while frame and not (frame.name() or "").endswith("Core::switch_to"):
            frame = frame.older()
        if not frame:
            raise gdb.GdbError("this OS thread runs no simulated thread; see `info threads` for one named `seed N`")
        core, of_core = int(frame.read_var("self")), gdb.lookup_type(CORE)
        nanos = int(load(core, "now.value.value", of_core))
        steps = int(load(core, "steps.value.value", of_core))
        print(f"virtual time {nanos / 1e9:.6f} s, step {steps}")

        running = int(load(core, "current.value.value", of_core))
        slots, of_slots = find(core, "schedule.value.value.slots", of_core)
        first = int(load(slots, "buf.inner.ptr.pointer.pointer", of_slots))
        of_slot = gdb.lookup_type("labsim::sim::table::Slot")
        for number in range(int(load(slots, "len", of_slots))):
            slot = first + number * of_slot.sizeof
            status = str(load(slot, "status", of_slot)).rsplit("::", 1)[-1]
            if status == "Free":
                continue
            name = name_of(slot, of_slot)
            life = str(load(slot, "life", of_slot))
            node = life.split("NodeId (")[1].split(")")[0] if "NodeId (" in life else "-"
            why = str(load(slot, "why", of_slot)).split("Why::", 1)[-1]
            what = f"waits ({why})" if status == "Waiting" else status.lower()
            what = "has not begun" if what == "waits (Ready)" else what
            since = int(load(slot, "since", of_slot)) / 1e9
            mark = "*" if number == running else " "
            where = "" if number == running else f"{place(load(slot, 'place', of_slot))}, since {since:.6f} s"
            print(f"{mark} {name:17} node {node:2} {what:18} {where}".rstrip())


Lab()
