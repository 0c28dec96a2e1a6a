"""A fight in plain Python: loops over units, exact numbers, one float32 rounding wherever the rules round.

Written from the rules, not from the JAX code. Numbers that are exact are Python's; `F` marks every inexact step.
"""

import dataclasses
import math

import numpy as np

F = np.float32
NORTH, SOUTH, EAST, WEST = 2, 3, 4, 5
WAYS = {NORTH: (0, 1), SOUTH: (0, -1), EAST: (1, 0), WEST: (-1, 0)}


def nearest(x):
    """The nearest whole number, ties to even."""
    return float(np.rint(F(x)))


def grid(x, steps=2048):
    return nearest(F(x) * F(steps)) / steps


def once(function):
    """A number of a kind on a side, computed once in a fight."""

    def remembered(self, unit, *others):
        key = (
            function.__name__,
            unit.kind,
            unit.is_enemy,
            *(o if isinstance(o, str) else (o.kind, o.is_enemy) for o in others),
        )
        if key not in self.known:
            self.known[key] = function(self, unit, *others)
        return self.known[key]

    return remembered


@dataclasses.dataclass(eq=False)
class Unit:
    kind: str
    is_enemy: bool
    number: int  # within its side
    x: float
    y: float
    hp: float
    shield: float
    cool: float
    quiet: float
    target: float
    energy: float
    mends: float
    fuse: float

    @property
    def alive(self):
        return self.hp > 0

    @property
    def q(self):
        """1/64 cell."""
        return nearest(self.x / 64), nearest(self.y / 64)

    @property
    def h(self):
        """1/16 cell."""
        return nearest(self.x / 256), nearest(self.y / 256)


class Fight:
    """One instance of the map of `env`, with `params` (NumPy)."""

    def __init__(self, env, params):
        plan = env.plan
        self.plan, self.p, self.spec = plan, params, env.spec
        self.kinds, self.known = plan.kinds, {}
        self.n, self.m = plan.n_allies, plan.n_enemies
        self.dt = 8 / plan.substeps
        self.cells = None
        if not plan.is_box:
            self.cells = [[bool(int(row) >> x & 1) for x in range(32)] for row in np.asarray(params.rows)]

    # Numbers of a unit -----------------------------------------------------------------------------------------------
    @once
    def table(self, unit, name):
        side = self.p.enemies if unit.is_enemy else self.p.allies
        return F(getattr(side, name)[self.kinds.index(unit.kind)])

    @once
    def factor(self, unit, name):
        return F(getattr(self.p, ("enemy_" if unit.is_enemy else "ally_") + name))

    def load(self, state):
        """Units from a state of the environment (NumPy, one instance)."""
        self.units = []
        for u in range(self.n + self.m):
            if self.plan.draws_teams:
                kind = self.kinds[int(state.kinds[u])]
            else:
                kind = self.kinds[(self.plan.allies + self.plan.enemies)[u]]
            is_enemy = u >= self.n
            self.units.append(
                Unit(
                    kind, is_enemy, u - self.n if is_enemy else u,
                    *(float(getattr(state, name)[u]) for name in ("x", "y", "hp", "shield", "cool", "quiet")),
                    target=float(state.target[u - self.n]) if is_enemy else -1.0,
                    **{name: float(getattr(state, name)[u]) if getattr(state, name).size else 0.0
                       for name in ("energy", "mends", "fuse")},
                )
            )  # fmt: skip
        self.allies, self.enemies = self.units[: self.n], self.units[self.n :]

    def start(self):
        """The fixed start of a map."""
        p = self.p
        self.units = []
        for u, place in enumerate(self.plan.allies + self.plan.enemies):
            is_enemy = u >= self.n
            unit = Unit(self.kinds[place], is_enemy, u - self.n if is_enemy else u, *[0.0] * 10)
            unit.x, unit.y = (nearest(F(p.start[u, k]) * F(4096)) for k in range(2))
            unit.hp, unit.shield = self.max_hp(unit), self.max_shield(unit)
            unit.quiet, unit.target = max(grid(p.shield_delay), grid(p.alarm)), -1.0
            unit.energy = 50.0 if unit.kind == "medivac" else 0.0
            self.units.append(unit)
        self.allies, self.enemies = self.units[: self.n], self.units[self.n :]

    @once
    def max_hp(self, unit):
        return grid(self.table(unit, "hp") * self.factor(unit, "health"))

    @once
    def max_shield(self, unit):
        return grid(self.table(unit, "shield") * self.factor(unit, "health"))

    @once
    def range(self, unit):
        return nearest(self.table(unit, "range") * self.factor(unit, "range") * F(64))

    @once
    def radius(self, unit):
        return nearest(self.table(unit, "radius") * F(64))

    @once
    def speed(self, unit):
        """1/4096 cell a loop."""
        return nearest(self.table(unit, "speed") * self.factor(unit, "speed") * F(256))

    @once
    def is_armed(self, unit):
        return self.table(unit, "damage") > 0

    @once
    def is_melee(self, unit):
        return self.range(unit) <= 64

    @once
    def flies(self, unit):
        return self.table(unit, "flies") > 0

    @once
    def collides(self, unit):
        return self.table(unit, "collides") > 0 and not self.flies(unit)

    @once
    def shot(self, unit, target):
        """Damage to shields, and to hit points."""
        factor = self.factor(unit, "damage")
        hit = grid(self.table(unit, "damage") * factor)
        if self.table(target, "is_light"):
            hit += grid(self.table(unit, "bonus_light") * factor)
        if self.table(target, "is_armored"):
            hit += grid(self.table(unit, "bonus_armored") * factor)
        hits = float(self.table(unit, "hits"))
        if not self.is_armed(unit):
            return hits * hit, 0.0
        return hits * hit, hits * max(hit - grid(self.table(target, "armor")), 0.5)

    # A step ----------------------------------------------------------------------------------------------------------
    def step(self, actions, noise, hits):
        """Eight loops. `noise` [U] loops and `hits` [U] bool are drawn outside. The reward, and whether it is over."""
        before = [(u.hp, u.shield) for u in self.units]
        was_over = any(self.ends())
        self.orders = [int(a) for a in actions]
        for _ in range(self.plan.substeps):
            self.substep(noise, hits)
        won, lost, both = self.ends()
        reward = F(0) if was_over else self.reward(before, won, lost)
        return reward, won or lost or both, won and not was_over

    def enemy_target(self, enemy):
        """The ally that `enemy` attacks."""
        best, found = math.inf, -1.0
        (ex, ey), p = enemy.h, self.p
        for ally in self.allies:
            if not ally.alive or not self.is_armed(enemy):
                continue
            if self.flies(ally) and not self.table(enemy, "hits_air"):
                continue
            ax, ay = ally.h
            reach = (self.range(enemy) + self.radius(enemy) + self.radius(ally)) / 4
            worth = max((ax - ex) ** 2 + (ay - ey) ** 2 - nearest(F(reach * reach) * F(p.focus)), 0)
            left = F(ally.hp + ally.shield) * (F(1) / F(self.max_hp(ally) + self.max_shield(ally)))
            worth += min(nearest(left * (F(p.focus) * F(64))), 2**17)
            worth += 0 if self.is_armed(ally) else 2**17
            if enemy.target == ally.number:
                worth = max(worth - nearest(p.stick), 0)
            if worth < 2**19 - 1 and worth < best:
                best, found = worth, float(ally.number)
        return found

    def healer_target(self, healer):
        best, found = math.inf, -1.0
        for other in self.enemies:
            if not other.alive or other.kind == "medivac" or not self.table(other, "is_biological"):
                continue
            if other.hp >= self.max_hp(other):
                continue
            worth = (other.h[0] - healer.h[0]) ** 2 + (other.h[1] - healer.h[1]) ** 2
            if worth < best:
                best, found = worth, float(other.number)
        return found

    def plans(self):
        """For each unit its target, as a unit or None, and its number; enemies: that of the attack."""
        found = []
        for unit in self.units:
            mates, others = (self.enemies, self.allies) if unit.is_enemy else (self.allies, self.enemies)
            is_healer = unit.kind == "medivac"
            if unit.is_enemy:
                number = self.healer_target(unit) if is_healer else self.enemy_target(unit)
            else:
                number = float(self.orders[unit.number] - 6) if self.orders[unit.number] >= 6 else -1.0
                if is_healer and number == unit.number:
                    number = -1.0
            pool = mates if is_healer else others
            target = pool[int(number)] if 0 <= number < len(pool) else None
            if target is not None and not target.alive:
                target = None
            found.append((target, number))
        return found

    def substep(self, noise, hits):
        p, dt = self.p, self.dt
        plans = self.plans()
        moves = [self.move(unit, target) for unit, (target, _) in zip(self.units, plans)]
        before = [(u.x, u.y, u.q, u.alive, u.shield, u.hp, u.fuse, u.energy, u.mends) for u in self.units]
        # Walk, push, stay on the ground.
        walked = [(u.x + moves[i]["dx"], u.y + moves[i]["dy"]) for i, u in enumerate(self.units)]
        pushed = self.pushes(walked)
        for i, unit in enumerate(self.units):
            if unit.alive:
                unit.x, unit.y = self.ground(unit, walked[i][0] + pushed[i][0], walked[i][1] + pushed[i][1])
        # Shots.
        fires = []
        for i, unit in enumerate(self.units):
            cool = unit.cool - dt
            fire = moves[i]["in_reach"] and self.is_armed(unit) and cool <= 0 and (not unit.is_enemy or p.fire > 0)
            fires.append(fire)
            if unit.alive:
                period = grid(self.table(unit, "period") * self.factor(unit, "period"))
                unit.cool = cool + period + noise[i] if fire else max(cool, 0.0)
            if unit.is_enemy:
                unit.target = plans[i][1] if moves[i]["has_target"] and unit.kind != "medivac" else -1.0
        damage = self.damage(plans, fires, hits, before, moves)
        # What it does.
        lives = []
        for i, unit in enumerate(self.units):
            to_shield = min(damage[i], unit.shield)
            unit.hp, unit.shield = unit.hp - (damage[i] - to_shield), unit.shield - to_shield
            if fires[i] and unit.kind == "baneling":
                unit.hp = 0.0
            lives.append(before[i][3] and unit.hp > 0)
        healed = self.healed(plans, moves, lives, before)
        for i, unit in enumerate(self.units):
            if not before[i][3]:
                unit.hp = unit.shield = 0.0
                unit.energy = unit.mends = unit.fuse = 0.0
                continue
            if unit.kind == "baneling":
                unit.fuse = float(not lives[i] and not fires[i])
            delay = grid(p.shield_delay)
            unit.quiet = 0.0 if damage[i] > 0 else min(unit.quiet + dt, max(delay, grid(p.alarm)))
            if unit.quiet >= delay:
                unit.shield = unit.shield + grid(p.shield_growth) * dt
            unit.shield = min(unit.shield, self.max_shield(unit))
            unit.hp += grid(self.table(unit, "regeneration")) * dt + healed[i]
            unit.hp = min(unit.hp, self.max_hp(unit))
            if not lives[i]:
                unit.hp = unit.shield = unit.energy = 0.0

    def move(self, unit, target):
        """The walk of this substep, and whether the target is in reach behind it."""
        p, dt = self.p, self.dt
        qx, qy = unit.q
        stride = self.speed(unit) * dt
        found = {"dx": 0.0, "dy": 0.0, "in_reach": False, "has_target": False}
        if target is not None:
            tx, ty = target.q
            distance = np.sqrt(F((tx - qx) ** 2 + (ty - qy) ** 2))
            if unit.is_enemy:
                scan = max(self.range(unit), 320) + nearest(F(p.scan) * F(64)) + self.radius(unit) + self.radius(target)
                seen = distance <= F(scan) or unit.quiet < F(p.alarm) or p.hunt > 0
            else:
                seen = not (self.flies(target) and self.is_armed(unit) and not self.table(unit, "hits_air"))
            found["has_target"] = bool(seen)
        pace, reach, is_direct = stride, 0.0, found["has_target"]
        if found["has_target"]:
            gx, gy = tx - qx, ty - qy
            if len(p.portals) and self.collides(unit):
                wall = nearest(F(p.portals[0][1]) * F(64))
                if (qy >= wall) != (ty >= wall):
                    gx, gy, is_direct = *self.around(qx, qy, tx, ty), False
            if is_direct:
                reach = self.range(unit) + self.radius(unit) + self.radius(target)
        elif unit.is_enemy:
            gx, gy = nearest(F(p.goal_x) * F(64)) - qx, nearest(F(p.goal_y) * F(64)) - qy
            pace = nearest(F(stride) * F(p.advance))
        else:
            way = WAYS.get(self.orders[unit.number], (0, 0))
            gx, gy = way[0] * 640.0, way[1] * 640.0
        far = np.sqrt(F(gx * gx + gy * gy))
        gap = (far - F(reach)) * F(64)
        walk = min(max(gap, F(0)), F(pace))
        kites = unit.is_enemy and is_direct and self.is_armed(unit) and not self.is_melee(unit) and p.kite > 0
        if kites and self.is_melee(target) and far <= F(nearest(F(p.kite) * F(64))) and unit.cool > dt:
            walk = F(-stride)
        ratio = walk / max(far, F(1))
        found["dx"], found["dy"] = nearest(F(gx) * ratio), nearest(F(gy) * ratio)
        found["in_reach"] = bool(unit.alive and is_direct and gap <= F(stride))
        return found

    def around(self, qx, qy, tx, ty):
        """To half a cell behind the better portal."""
        best = None
        for x, y in self.p.portals:
            px, py = nearest(F(x) * F(64)), nearest(F(y) * F(64))
            way = np.sqrt(F((px - qx) ** 2 + (py - qy) ** 2)) + np.sqrt(F((px - tx) ** 2 + (py - ty) ** 2))
            if best is None or way < best[0]:
                best = way, px - qx, py - qy + (-32 if qy >= py else 32)
        return best[1:]

    def pushes(self, walked):
        found = []
        active = [u.alive and self.collides(u) for u in self.units]
        body = [nearest(self.table(u, "body") * F(64)) if self.collides(u) else 0.0 for u in self.units]
        q = [(nearest(x / 64), nearest(y / 64)) for x, y in walked]
        for i, unit in enumerate(self.units):
            sx = sy = 0
            if active[i] and self.speed(unit) > 0:
                for j in range(len(self.units)):
                    if active[j]:
                        dx, dy = q[i][0] - q[j][0], q[i][1] - q[j][1]
                        overlap = max((body[i] + body[j]) ** 2 - (dx * dx + dy * dy), 0)
                        sx, sy = sx + overlap * dx, sy + overlap * dy
                assert max(abs(sx), abs(sy)) < 2**24
                factor = F(32) / F(4 * max(body[i], 1) ** 2)
                most = body[i] * 64
                sx, sy = (min(max(nearest(F(s) * factor), -most), most) for s in (sx, sy))
            found.append((sx, sy))
        return found

    def ground(self, unit, x, y):
        low_x, low_y, high_x, high_y = (nearest(F(edge) * F(4096)) for edge in self.p.box)
        x, y = min(max(x, low_x + 1), high_x - 1), min(max(y, low_y + 1), high_y - 1)
        if self.cells is not None and self.collides(unit):
            if not self.walkable(x, unit.y):
                x = unit.x
            if not self.walkable(x, y):
                y = unit.y
        return x, y

    def walkable(self, x, y):
        column, row = math.floor(x / 4096), math.floor(y / 4096)
        if self.cells is None:
            low_x, low_y, high_x, high_y = (nearest(F(edge) * F(4096)) for edge in self.p.box)
            return low_x <= x < high_x and low_y <= y < high_y
        return 0 <= column < 32 and 0 <= row < 32 and self.cells[row][column]

    def damage(self, plans, fires, hits, before, moves):
        """[U], simultaneous: everybody as they were at the beginning."""
        found = [0.0] * len(self.units)
        place = {id(u): i for i, u in enumerate(self.units)}

        def hurt(shooter, target):
            j = place[id(target)]
            raw, net = self.shot(shooter, target)
            found[j] += raw if before[j][4] > 0 else net

        for i, unit in enumerate(self.units):
            (qx, qy), target = before[i][2], plans[i][0]
            hit = fires[i] and hits[i]
            if hit:
                hurt(unit, target)
            others = self.allies if unit.is_enemy else self.enemies
            for other in others:
                j = place[id(other)]
                if not before[j][3] or self.flies(other) or (hit and other is target):
                    continue
                ox, oy = before[j][2]
                if unit.kind == "colossus" and hit:
                    tx, ty = before[place[id(target)]][2]
                    gx, gy, rx, ry = tx - qx, ty - qy, ox - tx, oy - ty
                    length = np.sqrt(F(gx * gx + gy * gy))
                    along = F(abs(rx * gx + ry * gy)) <= length * F(self.radius(other) + 10)
                    if along and F(abs(rx * gy - ry * gx)) <= length * F(self.radius(other) + 90):
                        hurt(unit, other)
                bursts = unit.kind == "baneling" and (hit or before[i][6] > 0)
                if bursts and (ox - qx) ** 2 + (oy - qy) ** 2 <= (self.radius(other) + 141) ** 2:
                    hurt(unit, other)
        return found

    def healed(self, plans, moves, lives, before):
        healed = [0.0] * len(self.units)
        place = {id(u): i for i, u in enumerate(self.units)}
        cost = 3 / 16 * self.dt
        for i, unit in enumerate(self.units):
            if unit.kind != "medivac":
                continue
            target, energy = plans[i][0], before[i][7]
            unit.mends = 0.0
            if lives[i] and target is not None and moves[i]["in_reach"]:
                j = place[id(target)]
                is_hurt = lives[j] and before[j][5] < self.max_hp(target) and self.table(target, "is_biological")
                if is_hurt and energy >= (cost if before[i][8] > 0 else 5.0):
                    unit.mends = 1.0
                    healed[j] = 9 / 16 * self.dt
            unit.energy = min(energy - cost * unit.mends + 9 / 256 * self.dt, 200.0) if lives[i] else 0.0
        return healed

    # What is seen ----------------------------------------------------------------------------------------------------
    def ends(self):
        ours, theirs = ([u for u in side if u.alive] for side in (self.allies, self.enemies))
        if not ours:
            return False, bool(theirs), not theirs
        if all(u.kind == "medivac" for u in ours):
            return False, True, False
        if not theirs or (len(theirs) == 1 and theirs[0].kind == "medivac"):
            return True, False, False
        return False, False, False

    def reward(self, before, won, lost):
        p = self.p
        if self.plan.reward == "sparse":
            return F(won) - F(lost)

        def worth(side):
            fall = sum(sum(before[i]) - u.hp - u.shield for i, u in enumerate(self.units) if u in side)
            died = sum(before[i][0] > 0 and not u.alive for i, u in enumerate(self.units) if u in side)
            return grid(F(fall) * F(p.reward_damage)) + grid(F(died) * F(p.reward_kill))

        theirs = worth(self.enemies)
        theirs = abs(theirs) if self.plan.reward == "abs" else max(theirs, 0)
        total = theirs - grid(F(worth(self.allies)) * F(p.ally_loss)) + (grid(p.reward_win) if won else 0)
        most = grid(F(p.reward_kill) * F(self.m)) + grid(p.reward_win)
        most += sum(self.max_hp(u) + self.max_shield(u) for u in self.enemies)
        return F(total) * (F(p.reward_scale) / F(most))

    def masks(self):
        found = np.zeros((self.n, 6 + self.m), bool)
        reach = nearest(F(self.p.shoot_range) * F(64))
        for ally in self.allies:
            row = found[ally.number]
            row[0], row[1] = not ally.alive, ally.alive
            if not ally.alive:
                continue
            for action, (dx, dy) in WAYS.items():
                row[action] = self.walkable(ally.x + 4096 * dx, ally.y + 4096 * dy)
            is_healer = ally.kind == "medivac"
            for other in self.allies[: self.m] if is_healer else self.enemies:
                near = (other.q[0] - ally.q[0]) ** 2 + (other.q[1] - ally.q[1]) ** 2 <= reach**2
                is_patient = other is not ally and other.kind != "medivac"
                row[6 + other.number] = near and other.alive and (is_patient or not is_healer)
        return found

    def observations(self):
        """[N] dictionaries: {block: {entity: {feature: value}}}; entities that are not seen are left out."""
        sight = nearest(F(self.p.sight) * F(64))
        scale = F(1) / F(sight)
        masks = self.masks()
        found = []
        for ally in self.allies:
            seen = {"self": {}, "enemies": {}, "allies": {}}
            found.append(seen)
            if not ally.alive:
                continue
            moves = dict(zip(("north", "south", "east", "west"), masks[ally.number, 2:6]))
            seen["self"][0] = {f"may move {way}": F(bool(may)) for way, may in moves.items()} | self.shown(ally)
            if self.plan.own_position:
                seen["self"][0] |= {"x": F(ally.x) / F(2**17), "y": F(ally.y) / F(2**17)}
            for other in self.units:
                dx, dy = other.q[0] - ally.q[0], other.q[1] - ally.q[1]
                if other is ally or not other.alive or dx * dx + dy * dy >= sight * sight:
                    continue
                row = {"distance": np.sqrt(F(dx * dx + dy * dy)) * scale, "dx": F(dx) * scale, "dy": F(dy) * scale}
                row |= self.shown(other)
                if other.is_enemy:
                    can = ally.kind != "medivac" and masks[ally.number, 6 + other.number]
                    seen["enemies"][other.number] = row | {"attackable": F(bool(can))}
                else:
                    number = other.number - (other.number > ally.number)
                    seen["allies"][number] = row | {"visible": F(1)}
        return found

    def shown(self, unit):
        row = {"hp": min(F(unit.hp) * (F(1) / F(self.max_hp(unit))), F(1))}
        most = self.max_shield(unit)
        row["shield"] = min(F(unit.shield) * (F(1) / F(most)), F(1)) if most else F(0)
        return row | {f"is {kind}": F(kind == unit.kind) for kind in self.kinds}
