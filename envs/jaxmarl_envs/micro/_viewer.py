"""Drawing of a fight."""


def draw(micro, ax, frame):
    return None
