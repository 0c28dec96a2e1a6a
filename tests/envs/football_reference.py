"""Football in plain Python: floats and loops over players, written from the rules, sharing no code with the engine.

`Game.close` is the smallest distance of a comparison from its threshold since it was last reset: where it is tiny, rounding
may decide otherwise elsewhere.
"""

import math

DT = 0.05
UNIT_X, UNIT_Y = 54.4, 83.6
COMPASS = {
    1: (-1, 0), 2: (-1, -1), 3: (0, -1), 4: (1, -1), 5: (1, 0), 6: (1, 1), 7: (0, 1), 8: (-1, 1),
}  # fmt: skip
STUN, SLIDE = 20, 16
PASSES, SHOT = (9, 10, 11), 12
ENDS = {"": 0, "goal": 1, "conceded": 2, "out": 3, "lost": 4, "back": 5, "offside": 6, "time": 7}


class Player:
    def __init__(self, number, is_left, is_keeper, agent):
        self.number, self.is_left, self.is_keeper, self.agent = number, is_left, is_keeper, agent
        self.side = 1.0 if is_left else -1.0
        self.kind = self.timer = 0
        self.held, self.sprints, self.dribbles, self.checks = 0, False, False, 0

    @property
    def speed(self):
        return math.hypot(self.vx, self.vy)

    @property
    def winds_up(self):
        return self.kind in (*PASSES, SHOT)

    def act(self, kind, substeps):
        self.kind, self.timer = kind, substeps


class Game:
    """One game; `load` a state, then `step`."""

    def __init__(self, plan, params):
        self.plan, self.p = plan, params
        first = plan.n_left - plan.n_agents
        self.players = [
            Player(i, i < plan.n_left, i in (0, plan.n_left), i - first if first <= i < plan.n_left else None)
            for i in range(plan.n_left + plan.n_right)
        ]
        self.left, self.right = self.players[: plan.n_left], self.players[plan.n_left :]
        self.agents = [q for q in self.left if q.agent is not None]
        self.close = 1.0

    def load(self, s):
        for i, q in enumerate(self.players):
            q.x, q.y, q.vx, q.vy, q.hx, q.hy = (float(v[i]) for v in (s.x, s.y, s.vx, s.vy, s.hx, s.hy))
            q.kind, q.timer = int(s.kind[i]), int(s.timer[i])
        for q in self.agents:
            q.held, q.checks = int(s.direction[q.agent]), int(s.checks[q.agent])
            q.sprints, q.dribbles = bool(s.sprints[q.agent]), bool(s.dribbles[q.agent])
        self.ball = [float(v) for v in s.ball]
        self.owner, self.last = self.find(s.owner), self.find(s.last)
        self.lock, self.since, self.beaten = int(s.lock[0]), int(s.since[0]), int(s.beaten[0])
        self.goals, self.conceded, self.passes, self.shots = (int(v) for v in s.counts)
        self.t = int(s.t[0])
        self.over = next(name for name, code in ENDS.items() if code == int(s.over[0]))

    def find(self, number):
        return None if int(number[0]) < 0 else self.players[int(number[0])]

    def dump(self):
        number = [-1 if q is None else q.number for q in (self.owner, self.last)]
        of = self.players
        return {
            "x": [q.x for q in of], "y": [q.y for q in of], "vx": [q.vx for q in of], "vy": [q.vy for q in of],
            "hx": [q.hx for q in of], "hy": [q.hy for q in of], "ball": self.ball, "owner": number[:1], "last": number[1:],
            "lock": [self.lock], "since": [self.since], "beaten": [self.beaten], "kind": [q.kind for q in of],
            "timer": [q.timer for q in of], "direction": [q.held for q in self.agents],
            "sprints": [q.sprints for q in self.agents], "dribbles": [q.dribbles for q in self.agents],
            "checks": [q.checks for q in self.agents], "counts": [self.goals, self.conceded, self.passes, self.shots],
            "t": [self.t], "over": [ENDS[self.over]],
        }  # fmt: skip

    def below(self, a, b):
        """A < b, noting how close it was."""
        self.close = min(self.close, abs(a - b))
        return a < b

    def best(self, players, value):
        """The player with the smallest value, the first of equals; None of none."""
        ranked = sorted(players, key=lambda q: (value(q), q.number))
        if len(ranked) > 1:
            self.close = min(self.close, abs(value(ranked[1]) - value(ranked[0])))
        return ranked[0] if ranked else None

    # What may be done

    def legal(self, q):
        mine, idle = q is self.owner, q.kind == 0
        legal = {0} | {k for k in range(1, 9) if k != q.held}
        if mine and idle:
            legal |= {9, 10, 11, 12}
        legal |= {15} if q.sprints else {13}
        legal |= {18} if q.dribbles else {17}
        if q.held:
            legal.add(14)
        if not mine and idle and self.last is not None and not self.last.is_left:
            legal.add(16)
        return legal

    def decode(self, q, action):
        if action not in self.legal(q):
            return
        if 1 <= action <= 8:
            q.held = action
        elif action in (9, 10, 11, 12):
            q.act(action, 8)
        elif action == 16:
            q.act(SLIDE, 10)
        elif action == 14:
            q.held = 0
        elif action in (13, 15):
            q.sprints = action == 13
        elif action in (17, 18):
            q.dribbles = action == 17

    # Scripted players

    def decide(self):
        """{player: (target x, y, speed)}, and the act and aim of a scripted owner."""
        p = self.p
        fast = p.sprint * (0.8 + 0.2 * p.difficulty)
        meet = {q: self.meeting(q, fast) for q in self.players}
        owner = self.owner
        plans = {}
        for q in self.players:
            if q.agent is None:
                if q is owner:
                    plans[q] = (q.x, q.y, p.sprint) if q.is_keeper else (55 * q.side, 0.0, fast)
                elif q.is_keeper:
                    plans[q] = self.keep(q, meet)
                elif q.is_left:
                    plans[q] = (self.ball[0] + 2, q.y, fast)
        field = [q for q in self.right if not q.is_keeper]
        if self.plan.is_lazy:
            plans |= {q: (q.x, q.y, fast) for q in field if q is not owner}
        elif owner is not None and not owner.is_left:
            plans |= {q: (self.ball[0] - 2, q.y, fast) for q in field if q is not owner}
        elif field:
            plans |= self.defend(field, meet, fast)
        return plans, *self.play(owner)

    def meeting(self, q, fast):
        bx, by, _, vx, vy, _ = self.ball
        v = max(math.hypot(vx, vy), 1e-6)
        for tau in (0.1, 0.2, 0.35, 0.5, 0.7, 0.95, 1.3, 2.0):
            path = math.log(1 + 0.055 * v * tau) / 0.055
            x, y = bx + vx / v * path, by + vy / v * path
            distance = max(math.hypot(x - q.x - 0.1 * q.vx, y - q.y - 0.1 * q.vy), 1e-6)
            if not self.below(fast * tau + 0.5, distance):
                return x, y, tau + 0.001 * distance
        return x, y, 3.0 + 0.001 * distance

    def keep(self, q, meet):
        p = self.p
        bx, by, _, vx, vy, _ = self.ball
        goal = -55.0 * q.side
        distance = max(math.hypot(bx - goal, by), 1e-6)
        out = 0.7 + min(max((18 - distance) / 10, 0), 1) * min(max(0.5 * distance - 0.7, 0), 6)
        plan = goal + (bx - goal) / distance * out, by / distance * out, p.sprint
        if self.owner is not None:
            if self.owner.is_left != q.is_left and self.below(distance, p.keeper_close):
                return bx, by, p.sprint
            return plan
        if self.below(0, vx * goal) and self.below(abs(by + vy * (goal - bx) / vx), 4.5):
            if self.since * DT <= p.keeper_react + 1e-4:
                return plan
            along = ((q.x - bx) * vx + (q.y - by) * vy) / max(vx * vx + vy * vy, 1e-12)
            return bx + along * vx, by + along * vy, p.keeper_run
        x, y, time = meet[q]
        others = min(meet[o][2] for o in self.players if o is not q)
        in_box = self.below(x * q.side, -38.6) and self.below(abs(x), 55.0) and self.below(abs(y), 20.05)
        return (x, y, p.sprint) if in_box and not self.below(others, time) else plan

    def defend(self, field, meet, fast):
        p, owner = self.p, self.owner
        marks = {}
        for q in field:
            a = self.best(
                [a for a in self.left if not a.is_keeper and a is not owner],
                lambda a, q=q: (a.x - q.x) ** 2 + (a.y - q.y) ** 2,
            )
            marks[q] = None if a is None else (a.x + 0.25 * (-55 - a.x), 0.75 * a.y)
        if owner is None:
            first = self.best(field, lambda q: meet[q][2])
            plans = {q: (*(marks[q] or (q.x, q.y)), fast) for q in field}
            plans[first] = (*meet[first][:2], fast)
            return plans
        late = 0.1 * (1.5 - p.difficulty)
        seen = owner.x - late * owner.vx, owner.y - late * owner.vy
        far = {q: math.hypot(q.x - seen[0], q.y - seen[1]) for q in field}
        hunters = [self.best(field, lambda q: far[q])]
        second = self.best([q for q in field if q not in hunters], lambda q: far[q])
        if second is not None and self.below(far[second], 20 * (0.3 + 0.7 * p.difficulty)):
            hunters.append(second)
        plans = {}
        for q in field:
            target = self.press(q, seen, far[q]) if q in hunters or marks[q] is None else marks[q]
            plans[q] = (*target, fast)
        return plans

    def press(self, q, seen, far):
        owner = self.owner
        if self.below(far, 2.0):
            bx, by = self.ball[:2]
            distance = math.hypot(-55 - bx, by)
            return bx + self.p.contain * (-55 - bx) / distance, by - self.p.contain * by / distance
        whole = math.hypot(-55 - seen[0], seen[1])
        ux, uy = (-55 - seen[0]) / whole, -seen[1] / whole
        along = ux * (q.x - seen[0]) + uy * (q.y - seen[1])
        equal = far**2 / max(2 * along, 1e-3) if self.below(0, along) else whole
        way = min(equal + 0.8, whole)
        return seen[0] + ux * way + 0.14 * owner.vx, seen[1] + uy * way + 0.14 * owner.vy

    def play(self, owner):
        """The act that a scripted owner begins, 0 for none, and its aim."""
        if owner is None or owner.agent is not None:
            return 0, (0.0, 0.0)
        foes = self.right if owner.is_left else self.left
        team = self.left if owner.is_left else self.right
        space = {q: min(math.hypot(f.x - q.x, f.y - q.y) for f in foes) for q in team}
        mates = [
            q for q in team
            if q is not owner and not q.is_keeper and (owner.is_keeper or self.below(0, (q.x - owner.x) * q.side))
        ]  # fmt: skip
        mate = self.best(mates, lambda q: -space[q])
        act = 0
        if mate is not None and (owner.is_keeper or self.below(space[owner], 3.0)):
            act = 10 if owner.is_keeper else 11
        if not owner.is_keeper and self.below(math.hypot(55 * owner.side - owner.x, owner.y), 14.0):
            act = SHOT
        shoots = owner.kind == SHOT or (owner.kind == 0 and act == SHOT)
        if shoots:
            keeper = next(f for f in foes if f.is_keeper)
            aim = 0.0, -1.0 if keeper.y > 0 else 1.0
        elif mate is not None:
            far = max(math.hypot(mate.x - owner.x, mate.y - owner.y), 1e-6)
            aim = (mate.x - owner.x) / far, (mate.y - owner.y) / far
        else:
            aim = owner.side, 0.0
        return (act if owner.kind == 0 else 0), aim

    # A step

    def step(self, actions, luck):
        """Reward, with `luck` [substeps, 4]."""
        if self.over:
            return 0.0
        plans, act, aim = self.decide()
        if self.owner is not None and self.owner.agent is None and act:
            self.owner.act(act, 8)
        for q, action in zip(self.agents, actions):
            self.decode(q, int(action))
        self.wish = {}
        for q in self.players:
            q.careful, q.aim = False, (0.0, 0.0)
            if q.agent is None:
                x, y, most = plans[q]
                distance = max(math.hypot(x - q.x, y - q.y), 1e-6)
                share = min(2.6 * distance, most) / distance
                self.wish[q] = (x - q.x) * share, (y - q.y) * share
                if q is self.owner:
                    q.aim = aim
            else:
                dx, dy = COMPASS.get(q.held, (0, 0))
                size = math.hypot(dx, dy) or 1.0
                q.aim = dx / size, dy / size
                speed = self.p.sprint if q.sprints else self.p.dribble if q.dribbles else self.p.walk
                self.wish[q] = q.aim[0] * speed, q.aim[1] * speed
                q.careful = q.dribbles and not q.sprints
        goals, conceded = self.goals, self.conceded
        for u in luck:
            if not self.over:
                self.substep(*(float(v) for v in u))
        self.t += 1
        is_back = self.below(self.ball[0], 0) or any(self.below(q.x, 0) for q in self.agents)
        if self.plan.rules == "cds" and not self.over and is_back:
            self.over = "back"
        return self.pay(self.goals - goals, self.conceded - conceded)

    def pay(self, scored, conceded):
        reward, kinds = 0.0, self.plan.rewards
        if "scoring" in kinds:
            reward += scored - conceded
        if "checkpoints" in kinds:
            distance = math.hypot(self.ball[0] / UNIT_X - 1, self.ball[1] / UNIT_Y)
            for q in self.agents:
                old = q.checks
                if q is self.owner:
                    while q.checks < 10 and not self.below(0.99 - 0.8 / 9 * q.checks, distance):
                        q.checks += 1
                if scored:
                    q.checks = 10
                reward += 0.1 * (q.checks - old)
        if self.plan.is_match:
            self.restart()
        if not self.over and self.t >= self.p.limit:
            self.over = "time"
        if "cds" in kinds and self.over:
            reward += 100 if self.over == "goal" else -1
        return reward

    def restart(self):
        """Play goes on after goals and balls out of play."""
        if not self.over:
            return
        if self.over in ("goal", "conceded"):
            by_left, x, y = self.over == "conceded", 0.0, 0.0
            for i, q in enumerate(self.players):
                q.x, q.y = (float(v) for v in self.p.start[i])
        else:
            by_left = not self.last.is_left
            x, y = min(max(self.ball[0], -54.5), 54.5), min(max(self.ball[1], -35.5), 35.5)
        self.over = ""
        taker = self.best([q for q in self.players if q.is_left == by_left], lambda q: math.hypot(q.x - x, q.y - y))
        for q in self.players:
            q.vx = q.vy = q.hy = 0.0
            q.hx = q.side
            q.act(0, 0)
            if q is taker:
                q.x, q.y = x - 0.34 * q.side, y
                continue
            dx, dy = q.x - x, q.y - y
            far = max(math.hypot(dx, dy), 1e-6)
            ux, uy = (dx / far, dy / far) if self.below(1e-3, far) else (-q.side, 0.0)
            far = max(far, 5.0)
            q.x, q.y = min(max(x + ux * far, -57), 57), min(max(y + uy * far, -38), 38)
        self.ball = [x, y, 0.11, 0.0, 0.0, 0.0]
        self.owner = self.last = taker
        self.lock = 10

    # A substep

    def substep(self, u0, u1, u2, u3):
        was = {q: (q.x, q.y) for q in self.players}
        start = list(self.ball)
        for q in self.players:
            self.run(q)
        self.push()
        self.carry()
        owner, event, passed_off = self.owner, "", False
        if owner is not None and owner.winds_up and owner.timer == 1:
            start = list(self.ball)
            passed_off = self.kick(owner, u0, u1, u2)
        foul = self.tackle(owner, u3)
        for q in self.players:
            if q.winds_up and q is not self.owner and not (q is owner and q.timer == 1 and self.owner is None):
                q.act(0, 0)
        stopped = False
        if self.owner is None:
            stopped = self.fly(was, u1, u3)
        self.carry()
        if not stopped or self.owner is not None:
            event = self.lines(start)
        for q in self.players:
            if q.timer > 0:
                q.timer -= 1
                if q.timer == 0:
                    pause = {SLIDE: 6, STUN: 0}.get(q.kind, 3)
                    q.act(STUN if pause else 0, pause)
        self.lock, self.beaten = max(self.lock - 1, 0), max(self.beaten - 1, 0)
        self.since = min(self.since + 1, 1000)
        if foul and not event:
            event = "out"
        if passed_off and not event:
            event = "offside"
        if not self.plan.plays_on and self.owner is not None and not self.owner.is_left:
            event = "lost"
        self.over = event
        self.goals += event == "goal"
        self.conceded += event == "conceded"

    def run(self, q):
        p = self.p
        wx, wy = self.wish[q]
        if q.kind == STUN:
            factor = 0.0
        elif q.winds_up:
            factor = 0.6
        elif q is self.owner and not self.below(math.hypot(wx, wy), 6.0):
            factor = p.ball_sprint
        else:
            factor = 1.0
        wx, wy = (0.97 * q.vx, 0.97 * q.vy) if q.kind == SLIDE else (wx * factor, wy * factor)
        before = q.speed
        dx, dy = wx - q.vx, wy - q.vy
        size, most = math.hypot(dx, dy), (p.change_ball if q is self.owner else p.change) * DT
        if size > most:
            dx, dy = dx * most / size, dy * most / size
        q.vx, q.vy = q.vx + dx, q.vy + dy
        share = min(max((before - 1.8) / (p.sprint - 1.8), 0), 1)
        most = before + p.accel * (1 - share**2) * DT + 0.02
        if q.speed > most:
            size = q.speed
            q.vx, q.vy = q.vx * most / size, q.vy * most / size
        q.x, q.y = q.x + q.vx * DT, q.y + q.vy * DT
        if self.below(0.3, q.speed):
            q.hx, q.hy = q.vx / q.speed, q.vy / q.speed

    def push(self):
        moves = {q: [0.0, 0.0] for q in self.players}
        for a in self.players:
            for b in self.players:
                if a is b:
                    continue
                limit = 2 * (self.p.body if a.is_left == b.is_left else self.p.body_foe)
                dx, dy = a.x - b.x, a.y - b.y
                far = math.hypot(dx, dy)
                if far < limit:
                    if far > 1e-4:
                        ux, uy = dx / far, dy / far
                    else:
                        ux, uy = math.copysign(1, a.number - b.number), 0.0
                        far = max(far, 1e-6)
                    moves[a][0] += 0.5 * (limit - far) * ux
                    moves[a][1] += 0.5 * (limit - far) * uy
        for q, (dx, dy) in moves.items():
            q.x, q.y = min(max(q.x + dx, -57), 57), min(max(q.y + dy, -38), 38)

    def carry(self):
        q = self.owner
        if q is None:
            return
        if q.is_keeper:
            place = min(max(q.x, -55), 55), q.y
        else:
            reach = 0.34 + 0.08 * q.speed
            place = q.x + reach * q.hx, q.y + reach * q.hy
        self.ball = [*place, 0.11, q.vx, q.vy, 0.0]

    def kick(self, q, u0, u1, u2):
        aim = q.aim if q.aim != (0.0, 0.0) else (q.hx, q.hy)
        is_offside = False
        if q.kind == SHOT:
            self.ball[3:] = self.shot(q, aim, u0, u1, u2)
            self.shots += q.is_left
        else:
            self.ball[3:], mate = self.passed(q, aim, u0)
            depth = mate.x * q.side
            foes = sorted(f.x * q.side for f in self.players if f.is_left != q.is_left)
            second = foes[-2] if len(foes) > 1 else -1e6
            is_offside = self.p.offside > 0 and depth > second and depth > self.ball[0] * q.side and depth > 0
        self.owner, self.last, self.lock, self.since = None, q, 7, 0
        return is_offside

    def shot(self, q, aim, u0, u1, u2):
        p = self.p
        bx, by = self.ball[:2]
        gx, gy = 55 * q.side - bx, -by
        cross = gx * aim[1] - gy * aim[0]
        angle = abs(math.atan2(cross, gx * aim[0] + gy * aim[1]))
        y = 0.9 * 3.7 * min(angle / (math.pi / 2), 1) ** 0.7 * q.side
        y = math.copysign(1, cross) * y if cross else 0.0
        dx, dy = gx, y - by
        far = math.hypot(dx, dy)
        dx, dy = dx / far, dy / far
        near = min(math.hypot(f.x - q.x, f.y - q.y) for f in self.players if f.is_left != q.is_left)
        turn = q.hx * dx + q.hy * dy
        pressure = min(max(1.5 - 0.5 * near, 0), 1)
        sigma = p.shot_sigma * (1 - 0.5 * turn + pressure + 0.1 * max(q.speed - 5, 0))
        v = p.shot_speed * (0.85 + 0.03 * min(q.speed, 5))
        e = math.atan(2.45 * sigma * (u0 + u1 - 1))
        dx, dy = dx * math.cos(e) - dy * math.sin(e), dy * math.cos(e) + dx * math.sin(e)
        return [v * dx, v * dy, v * (0.05 + 2 * sigma * (u2 - 0.25))]

    def passed(self, q, aim, u0):
        ahead = {9: 7.7, 10: 10.6, 11: 6.6}[q.kind]

        def cost(m):
            dx, dy = m.x - q.x, m.y - q.y
            miss = math.hypot(dx - ahead * aim[0], dy - ahead * aim[1])
            angle = abs(math.atan2(dx * aim[1] - dy * aim[0], dx * aim[0] + dy * aim[1]))
            return 0.8 * (miss / 70) ** 0.8 + angle / math.pi

        mate = self.best([m for m in self.players if m.is_left == q.is_left and m is not q], cost)
        bx, by = self.ball[:2]
        distance = math.hypot(mate.x - bx, mate.y - by)
        lead = 0.7 * min(0.3 + 0.05 * distance, 1) ** 0.7
        dx, dy = mate.x + lead * mate.vx - bx, mate.y + lead * mate.vy - by
        if q.kind == 9:
            dx += 0.2 * distance * q.side
        distance = math.hypot(dx, dy)
        e = math.atan(math.sqrt(12) * self.p.pass_sigma * (u0 - 0.5))
        dx, dy = dx / distance, dy / distance
        dx, dy = dx * math.cos(e) - dy * math.sin(e), dy * math.cos(e) + dx * math.sin(e)
        bend = (distance / 60) ** 1.4
        if q.kind == 10:
            v, rise = min(36 * (1.15 * bend + 0.3), 42), 0.45 - 0.15 * distance / 60
        else:
            v, rise = min(36 * (1.8 * bend + 0.3), 30), 0.11
        return [v * dx, v * dy, v * rise], mate

    def in_box(self, q):
        return q.is_keeper and self.below(q.x * q.side, -38.6) and self.below(abs(q.y), 20.05)

    def tackle(self, owner, u3):
        """Whether there was a foul."""
        q, p = self.owner, self.p
        if q is None or self.lock > 0:
            return False
        bx, by = self.ball[:2]

        def square(f):
            return (f.x - bx) ** 2 + (f.y - by) ** 2

        foes = [f for f in self.players if f.is_left != q.is_left]
        foe = self.best([f for f in foes if f.kind == 0 and self.below(square(f), 1.0)], square)
        if foe is not None:
            rate = p.keeper_smother if self.in_box(foe) else p.tackle_rate * p.difficulty
            rate *= 0.65 + 0.35 * self.front(q, foe)
            rate *= 0.5 if q.careful else 1.0
            rate *= 1.0 if self.below(math.hypot(*self.wish[q]), 6.0) else 1.3
            if self.below(u3, DT * rate):
                self.owner = self.last = foe
                self.lock = 10
                return False
        slider = self.best([f for f in foes if f.kind == SLIDE and self.below(square(f), 1.6**2)], square)
        if not self.plan.plays_on or slider is None:
            return False
        if self.below(u3, 0.6):
            self.ball[3:] = [3 * slider.hx, 3 * slider.hy, 0.0]
            self.owner, self.last, self.lock = None, slider, 3
            slider.act(STUN, 7)
            return False
        front = self.front(q, slider)
        slider.act(STUN, 7)
        q.act(STUN, 9)
        return self.below(front, -0.5)

    @staticmethod
    def front(q, foe):
        dx, dy = foe.x - q.x, foe.y - q.y
        return (q.hx * dx + q.hy * dy) / max(math.hypot(dx, dy), 1e-6)

    def fly(self, was, u1, u3):
        """Whether somebody stopped the free ball."""
        p, old = self.p, list(self.ball)
        x, y, z, vx, vy, vz = old
        on_grass = self.below(z, 0.135) and self.below(vz, 1.0)
        v = math.sqrt(vx * vx + vy * vy + vz * vz)
        air = max(1 - 0.015 * v * DT, 0)
        vx, vy, vz = vx * air, vy * air, vz * air - 9.81 * DT
        if on_grass:
            flat = max(math.hypot(vx, vy), 1e-6)
            grass = max(1 - (0.04 * flat**2 + 1.6) * DT / flat, 0)
            vx, vy = vx * grass, vy * grass
        z += vz * DT
        if self.below(z, 0.11):
            z, vz = 0.11, -0.62 * vz - 0.06
            if self.below(vz, 0.4):
                vz = 0.0
        new = [x + 0.5 * DT * (old[3] + vx), y + 0.5 * DT * (old[4] + vy), z, vx, vy, vz]

        meetings = [found for q in self.players if (found := self.meets(q, was[q], old, new))]
        self.ball = new
        if not meetings:
            return False
        ranked = sorted(meetings, key=lambda m: m[0])
        if len(ranked) > 1:
            self.close = min(self.close, ranked[1][0] - ranked[0][0])
        _, q, at, off, reach, by_hand, is_own = ranked[0]
        square = off[0] ** 2 + off[1] ** 2
        hard = min(math.sqrt((vx - q.vx) ** 2 + (vy - q.vy) ** 2 + vz**2) / p.trap_speed, 1.5)
        if by_hand:
            save = p.keeper_hold * (1 - p.keeper_slip * square / reach**2)
            if not self.below(u3, save):
                self.beaten = 12
                return False
            control = save * (1 - 0.5 * hard)
        else:
            control = 1 - 0.15 * hard**2 if is_own else 0.8 - 0.6 * hard
        before, self.last = self.last, q
        if self.below(u3, control):
            self.owner, self.lock = q, 10
            if q.agent is not None and before is not None and before.agent is not None and before is not q:
                self.passes += 1
            return True
        flat, far = math.hypot(vx, vy), math.hypot(*off)
        flat = max(flat, 1e-6)
        nx, ny = (-vx / flat, -vy / flat) if self.below(far, 0.05) else (off[0] / far, off[1] / far)
        back = -(0.1 + 0.3 * u1)
        place = [a + at * (b - a) for a, b in zip(old[:3], new[:3])]
        self.ball = [*place, back * vx + 0.35 * flat * nx, back * vy + 0.35 * flat * ny, 1.2]
        self.lock = 3
        return True

    def meets(self, q, was, old, new):
        """How a player meets the ball in this substep, or None."""
        p = self.p
        if q.kind == STUN or (q is self.last and self.lock > 0) or (q.is_keeper and self.beaten > 0):
            return None
        x0, y0 = old[0] - was[0], old[1] - was[1]
        mx, my = new[0] - q.x - x0, new[1] - q.y - y0
        path = mx * mx + my * my
        time = -(x0 * mx + y0 * my) / max(path, 1e-12)
        most, crosses = 1.0, abs(new[0]) > 55.17
        if crosses:
            most = min(max((55.17 - abs(old[0])) / max(abs(new[0]) - abs(old[0]), 1e-6), 0), 1)
        at = min(max(time, 0), most)
        off = x0 + at * mx, y0 + at * my
        is_own = self.last is None or self.last.is_left == q.is_left
        by_hand = not is_own and self.in_box(q)
        reach = p.reach_own if is_own else p.reach_foe
        if by_hand:
            reach = p.keeper_reach + min(max((self.since * DT - p.keeper_react) * p.keeper_dive, 0), p.keeper_stretch)
        square = off[0] ** 2 + off[1] ** 2
        if not self.below(square, reach**2):
            return None
        timely = self.below(0, time) and (crosses or not self.below(1, time))
        if not timely and not self.below(path, 0.15**2):
            return None
        if not self.below(old[2] + at * (new[2] - old[2]), p.hands if by_hand else p.head):
            return None
        return at + 0.001 * square, q, at, off, reach, by_hand, is_own

    def lines(self, start):
        """What happens at the lines between two places of the ball."""
        x, y, z = self.ball[:3]
        if abs(x) > 55.17:
            self.close = min(self.close, abs(abs(x) - 55.17))
            at = min(max((55.17 - abs(start[0])) / max(abs(x) - abs(start[0]), 1e-6), 0), 1)
            cy, cz = start[1] + at * (y - start[1]), start[2] + at * (z - start[2])
            if self.below(abs(cy), 3.7) and self.below(cz, 2.5):
                return "goal" if x > 0 else "conceded"
            post = self.below(abs(abs(cy) - 3.7), 0.18) and self.below(cz, 2.68)
            bar = self.below(abs(cz - 2.5), 0.18) and self.below(abs(cy), 3.88)
            if self.owner is None and (post or bar):
                self.ball[:4] = [math.copysign(55.17, x), cy, cz, -0.8 * self.ball[3]]
                return "out" if abs(y) > 36.17 else ""
            return "out"
        return "out" if self.below(36.17, abs(y)) else ""

    # What is shown

    def observation(self, q, is_rich):
        """One agent's, in the layouts "cds" and "rich"."""
        fast, fast_ball = (50, 20) if is_rich else (1, 1)

        def place(o):
            return o.x / UNIT_X, o.y / UNIT_Y

        def run(o):
            return 0.1 * fast * o.vx / UNIT_X, 0.1 * fast * o.vy / UNIT_Y

        own = place(q)
        mates = [o for o in self.agents if o is not q]
        bx, by, bz, vx, vy, vz = self.ball
        shown = [*own]
        for o in mates:
            shown += [a - b for a, b in zip(place(o), own)]
        shown += run(q)
        for o in mates:
            shown += run(o)
        for o in self.right:
            shown += [a - b for a, b in zip(place(o), own)]
        for o in self.right:
            shown += run(o)
        shown += [bx / UNIT_X - own[0], by / UNIT_Y - own[1], bz]
        shown += [0.1 * fast_ball * vx / UNIT_X, 0.1 * fast_ball * vy / UNIT_Y, 0.1 * vz]
        if is_rich:
            shown += [float(q.held == k) for k in range(1, 9)] + [float(q.sprints), float(q.dribbles)]
            shown += [q.timer * DT, float(q.kind == SHOT), float(q.kind in PASSES), float(q.kind in (SLIDE, STUN))]
            shown += [float(self.owner is None), float(self.owner in self.left), float(self.owner in self.right)]
            shown += [float(o is self.owner) for o in (q, *mates)]
            shown.append(self.t / self.p.limit)
        return shown
