"""What can be said in the embedded model's world: relations, and how each is worded."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sleepmem.embedded import words
from sleepmem.embedded.words import Maker

HELD_OUT = 2  # wordings at the end of each list that training never sees


@dataclass(frozen=True, slots=True)
class Relation:
    """What can be said of a subject of one kind: the maker of its values, and its wordings.

    `{s}` stands for the subject and `{v}` for the value. The last `HELD_OUT` statements and
    questions are never trained on.
    """

    kind: str
    make: Maker
    statements: tuple[str, ...]
    questions: tuple[str, ...]


class SubjectKind(NamedTuple):
    """What can be said of the subjects of one kind, and the maker of their names."""

    relations: tuple[str, ...]
    make_name: Maker


def wordings(text: str) -> tuple[str, ...]:
    """The lines of a text, each without the space around it."""
    return tuple(line.strip() for line in text.strip().splitlines())


def choose_wording(rng: random.Random, options: Sequence[str], *, held_out: bool) -> str:
    """One of the wordings that are held out from training, or one of the others."""
    return rng.choice(options[-HELD_OUT:] if held_out else options[:-HELD_OUT])


def _relation(kind: str, make: Maker, statements: str, questions: str) -> Relation:
    return Relation(kind, make, wordings(statements), wordings(questions))


def _kind(kind: str, make_name: Maker) -> SubjectKind:
    names = (name for name, relation in RELATIONS.items() if relation.kind == kind)
    return SubjectKind(tuple(names), make_name)


RELATIONS: Mapping[str, Relation] = {
    "city": _relation(
        "person",
        words.place,
        """{s} lives in {v}.
        {s} has moved to {v}.
        {s} now lives in {v}.
        The home of {s} is in {v}.
        {s}'s home is in {v}.
        {s} resides in {v}.
        The city where {s} lives is {v}.
        The home city of {s} is {v}.
        {s} settled in {v}.
        {s} has found a flat in {v}.
        {v} is where {s} lives.
        {s} calls {v} home.
        {s} moved to {v}.
        {s} has a home in {v}.""",
        """Where does {s} live?
        Which city does {s} live in?
        Where is the home of {s}?
        Where is {s}'s home?
        In which city does {s} reside?
        What city is {s} living in?
        What is the home city of {s}?
        Where has {s} moved to?
        Where can {s} be found at home?
        Where did {s} settle?
        Which city does {s} call home?
        Which city has {s} moved to?
        Which city is the home of {s}?
        Where does {s} live now?""",
    ),
    "job": _relation(
        "person",
        words.job,
        """{s} works as a {v}.
        The job of {s} is {v}.
        {s}'s job is {v}.
        {s} is a {v} by profession.
        {s} has a job as a {v}.
        {s} earns a living as a {v}.
        {s}'s profession is {v}.
        {s} now works as a {v}.
        {s} found work as a {v}.
        {s} makes a living as a {v}.
        {s} is employed as a {v}.
        {s} became a {v}.
        By profession {s} is a {v}.
        The profession of {s} is {v}.
        {s} is working as a {v}.""",
        """What does {s} work as?
        What is the job of {s}?
        What is {s}'s job?
        Which job does {s} have?
        What is the profession of {s}?
        What does {s} do for a living?
        What job does {s} have?
        What is {s}'s profession?
        How does {s} earn a living?
        What is {s} employed as?
        What is {s} by profession?
        As what does {s} work?
        What is {s} working as?
        Which profession does {s} have?""",
    ),
    "pet": _relation(
        "person",
        words.name,
        """{s} has a pet called {v}.
        The pet of {s} is named {v}.
        {s}'s pet is called {v}.
        {s} owns a pet named {v}.
        The name of {s}'s pet is {v}.
        {s} keeps a pet called {v}.
        {s}'s pet goes by the name {v}.
        The pet that {s} owns is {v}.
        {s} got a pet called {v}.
        {v} is the pet of {s}.
        {s} named the pet {v}.
        The pet {s} has is {v}.
        {s} has a pet named {v}.
        The pet of {s} is called {v}.""",
        """What is the pet of {s} called?
        What is the name of {s}'s pet?
        What is {s}'s pet called?
        Which pet does {s} have?
        How is the pet of {s} named?
        What name does the pet of {s} have?
        Which pet does {s} own?
        What did {s} name the pet?
        How is {s}'s pet called?
        What does {s} call the pet?
        What is the name of the pet that {s} owns?
        What name did {s} give the pet?
        What is the name of the pet of {s}?
        What is {s}'s pet named?""",
    ),
    "friend": _relation(
        "person",
        words.name,
        """{s} is a friend of {v}.
        The best friend of {s} is {v}.
        {s}'s best friend is {v}.
        {s} is good friends with {v}.
        {s} has a friend called {v}.
        {s}'s friend is {v}.
        {s} made friends with {v}.
        The closest friend of {s} is {v}.
        {s} and {v} are friends.
        {v} is a good friend of {s}.
        {s} calls {v} a friend.
        {s} is close friends with {v}.
        The friend of {s} is {v}.
        {s} is best friends with {v}.""",
        """Who is the best friend of {s}?
        Who is {s} a friend of?
        Who is {s}'s best friend?
        Which friend does {s} have?
        Who is {s}'s friend?
        Who is {s} friends with?
        Who is the closest friend of {s}?
        Who did {s} make friends with?
        With whom is {s} friends?
        Whom does {s} call a friend?
        What is the name of {s}'s friend?
        Who is a good friend of {s}?
        Who is the friend of {s}?
        Who is {s} good friends with?""",
    ),
    "boss": _relation(
        "person",
        words.name,
        """The boss of {s} is {v}.
        {s}'s boss is {v}.
        {s} reports to {v}.
        {s} has {v} as a boss.
        The manager of {s} is {v}.
        {s}'s manager is {v}.
        {s} takes orders from the manager {v}.
        {s} has a new boss, {v}.
        {v} is the boss of {s}.
        {s} works for {v}.
        {s} is managed by {v}.
        The person {s} reports to is {v}.
        {s} has a boss called {v}.
        {s} now reports to {v}.""",
        """Who is the boss of {s}?
        Who is {s}'s boss?
        Who does {s} report to?
        Which boss does {s} have?
        Who is the manager of {s}?
        Who is {s}'s manager?
        Which manager does {s} have?
        Whom does {s} report to?
        Who manages {s}?
        Who does {s} work for?
        By whom is {s} managed?
        To whom does {s} report?
        Who is now the boss of {s}?
        What boss does {s} have?""",
    ),
    "birthday": _relation(
        "person",
        words.day,
        """The birthday of {s} is on {v}.
        {s}'s birthday is {v}.
        {s} was born on {v}.
        {s} has a birthday on {v}.
        {s} celebrates a birthday on {v}.
        The birthday of {s} falls on {v}.
        The day {s} was born is {v}.
        {s}'s birthday falls on {v}.
        {s} has the birthday {v}.
        {v} is the birthday of {s}.
        The birthday that {s} celebrates is {v}.
        {s} turns a year older on {v}.
        {s}'s birthday is on {v}.
        The birthday of {s} is {v}.""",
        """When is the birthday of {s}?
        When is {s}'s birthday?
        When was {s} born?
        On which day is {s}'s birthday?
        When does {s} celebrate a birthday?
        Which day is the birthday of {s}?
        On what day was {s} born?
        What is the birthday of {s}?
        When does {s} have a birthday?
        What day was {s} born?
        On which date was {s} born?
        Which day does {s} celebrate?
        What is {s}'s birthday?
        On which day was {s} born?""",
    ),
    "food": _relation(
        "person",
        words.food,
        """{s} loves to eat {v}.
        The favourite food of {s} is {v}.
        {s}'s favourite food is {v}.
        {s} likes to eat {v} most.
        The food {s} loves is {v}.
        {s} always wants to eat {v}.
        {s} prefers to eat {v}.
        The preferred food of {s} is {v}.
        {s} enjoys eating {v}.
        {s} often eats {v}.
        What {s} likes to eat is {v}.
        {v} is what {s} eats most.
        {s} likes to eat {v}.
        The food that {s} likes most is {v}.""",
        """What does {s} love to eat?
        What is the favourite food of {s}?
        What is {s}'s favourite food?
        Which food does {s} love?
        What does {s} like to eat?
        Which food does {s} prefer?
        What does {s} want to eat?
        What food does {s} like most?
        What does {s} enjoy eating?
        What food does {s} love?
        What does {s} eat most?
        What food does {s} prefer?
        What does {s} prefer to eat?
        Which food does {s} like?""",
    ),
    "drink": _relation(
        "person",
        words.drink,
        """{s} loves to drink {v}.
        The favourite drink of {s} is {v}.
        {s}'s favourite drink is {v}.
        {s} likes to drink {v} most.
        The drink {s} loves is {v}.
        {s} always wants to drink {v}.
        {s} prefers to drink {v}.
        The preferred drink of {s} is {v}.
        {s} enjoys drinking {v}.
        {s} often drinks {v}.
        What {s} likes to drink is {v}.
        {v} is what {s} drinks most.
        {s} likes to drink {v}.
        The drink that {s} likes most is {v}.""",
        """What does {s} love to drink?
        What is the favourite drink of {s}?
        What is {s}'s favourite drink?
        Which drink does {s} love?
        What does {s} like to drink?
        Which drink does {s} prefer?
        What does {s} want to drink?
        What drink does {s} like most?
        What does {s} enjoy drinking?
        What drink does {s} love?
        What does {s} drink most?
        What drink does {s} prefer?
        What does {s} prefer to drink?
        Which drink does {s} like?""",
    ),
    "colour": _relation(
        "person",
        words.colour,
        """The favourite colour of {s} is {v}.
        {s}'s favourite colour is {v}.
        {s} likes the colour {v} most.
        The colour {s} loves is {v}.
        {s} loves the colour {v}.
        {s} prefers the colour {v}.
        The preferred colour of {s} is {v}.
        {s} picked {v} as favourite colour.
        {s} is fond of the colour {v}.
        The colour {s} prefers is {v}.
        {v} is the colour that {s} prefers.
        {s} chose {v} as favourite colour.
        {s} likes the colour {v}.
        The colour that {s} likes most is {v}.""",
        """What is the favourite colour of {s}?
        What is {s}'s favourite colour?
        Which colour does {s} love?
        Which colour does {s} prefer?
        What colour does {s} like most?
        Which colour does {s} like best?
        What is the preferred colour of {s}?
        What colour did {s} pick?
        Which colour did {s} choose?
        Which colour is the favourite of {s}?
        What colour does {s} prefer?
        What colour is {s} fond of?
        Which colour does {s} like?
        What colour does {s} love?""",
    ),
    "trip": _relation(
        "person",
        words.place,
        """{s} plans a trip to {v}.
        {s} will travel to {v}.
        The next trip of {s} goes to {v}.
        {s}'s next trip is to {v}.
        {s} is going to visit {v}.
        {s} plans to visit {v}.
        {s} wants to travel to {v}.
        The trip {s} plans goes to {v}.
        {s} will go to {v}.
        {s} hopes to visit {v}.
        {s} will see {v} on the next trip.
        {s} booked a trip to {v}.
        {s} is about to travel to {v}.
        The place that {s} will see next is {v}.
        {s} will visit {v}.
        {s} plans to travel to {v}.""",
        """Where does {s} plan a trip to?
        Where will {s} travel to?
        Where does the next trip of {s} go?
        Where is {s}'s next trip to?
        What is {s} going to visit?
        Which place does {s} plan to visit?
        Which place will {s} travel to?
        Where does {s} want to travel?
        Where will {s} go?
        Which place does {s} hope to visit?
        Where did {s} book a trip to?
        What will {s} visit?
        To which place will {s} travel?
        Where is {s} about to travel?
        Which place will {s} visit?
        Where does {s} plan to travel?""",
    ),
    "appointment": _relation(
        "person",
        words.day,
        """{s} has an appointment on {v}.
        The appointment of {s} is on {v}.
        {s}'s appointment is on {v}.
        {s} made an appointment for {v}.
        The date of {s}'s appointment is {v}.
        {s} booked an appointment for {v}.
        The appointment of {s} was set for {v}.
        {s} must keep an appointment on {v}.
        {s} has to be at an appointment on {v}.
        {s} got an appointment on {v}.
        On {v} {s} has an appointment.
        The appointment that {s} made is on {v}.
        {s}'s appointment is set for {v}.
        The date of the appointment of {s} is {v}.""",
        """When does {s} have an appointment?
        When is the appointment of {s}?
        When is {s}'s appointment?
        On which day is the appointment of {s}?
        What is the date of {s}'s appointment?
        For when did {s} book an appointment?
        What date is {s}'s appointment?
        For which day was the appointment of {s} set?
        What day is {s}'s appointment?
        When must {s} keep an appointment?
        For which date did {s} make an appointment?
        For when is the appointment of {s}?
        On which day is {s}'s appointment?
        What is the date of the appointment of {s}?""",
    ),
    "mayor": _relation(
        "place",
        words.name,
        """The mayor of {s} is {v}.
        {s} has a mayor called {v}.
        {s}'s mayor is {v}.
        {s} elected {v} as mayor.
        The new mayor of {s} is {v}.
        The town {s} has the mayor {v}.
        {s} is governed by mayor {v}.
        The mayor who runs {s} is {v}.
        {v} is the mayor of {s}.
        The people of {s} chose {v} as mayor.
        {s} is run by mayor {v}.
        In {s} the mayor is {v}.
        {s} has a mayor named {v}.
        The mayor of the town {s} is {v}.""",
        """Who is the mayor of {s}?
        Which mayor does {s} have?
        Who is {s}'s mayor?
        Whom did {s} elect as mayor?
        Who is the new mayor of {s}?
        Who is mayor in {s}?
        By which mayor is {s} governed?
        What is the mayor of {s} called?
        Who governs {s} as mayor?
        Who was elected mayor of {s}?
        Which mayor runs {s}?
        Who is the mayor in {s}?
        Who is the mayor of the town {s}?
        What is the name of {s}'s mayor?""",
    ),
    "craft": _relation(
        "place",
        words.craft,
        """{s} is famous for {v}.
        {s} is known for its {v}.
        People visit {s} for its {v}.
        The town {s} is famous for its {v}.
        {s} is well known for {v}.
        What makes {s} famous is its {v}.
        The fame of {s} comes from its {v}.
        {s} became famous for {v}.
        {s} is praised for its {v}.
        {s} is famous for making {v}.
        What {s} is known for is {v}.
        {v} made {s} famous.
        {s} is famous for its {v}.
        {s} is known for {v}.""",
        """What is {s} famous for?
        What is {s} known for?
        For what do people visit {s}?
        What is the town {s} famous for?
        What is {s} well known for?
        What makes {s} famous?
        Where does the fame of {s} come from?
        For what did {s} become famous?
        What is {s} praised for?
        What made {s} famous?
        For what is the town {s} known?
        What do people visit {s} for?
        For what is {s} famous?
        What is the town {s} known for?""",
    ),
    "opening": _relation(
        "place",
        words.clock,
        """The library of {s} opens at {v}.
        {s}'s library opens at {v}.
        In {s} the library opens at {v}.
        The library in {s} is open from {v}.
        The opening time of the library in {s} is {v}.
        The library of {s} starts the day at {v}.
        You can enter the library of {s} from {v}.
        {s} opens its library at {v}.
        The library of {s} can be entered from {v}.
        At {v} the library of {s} opens.
        The library of {s} opens its doors at {v}.
        The hour at which the library of {s} opens is {v}.
        The library in {s} opens at {v}.
        The library of {s} is open from {v}.""",
        """When does the library of {s} open?
        When does {s}'s library open?
        At what time does the library in {s} open?
        From when is the library of {s} open?
        What is the opening time of the library in {s}?
        When can you enter the library of {s}?
        At which time does {s} open its library?
        When does {s} open its library?
        From when can you enter the library of {s}?
        What time does the library of {s} open?
        At which time does the library of {s} open?
        At what time does {s}'s library open?
        When does the library in {s} open?
        What is the opening time of the library of {s}?""",
    ),
    "leader": _relation(
        "project",
        words.name,
        """The project {s} is led by {v}.
        The leader of {s} is {v}.
        The leader of project {s} is {v}.
        {s} has a leader called {v}.
        {s}'s leader is {v}.
        The team of {s} is led by {v}.
        Project {s} has {v} as its leader.
        {s} got a new leader, {v}.
        {v} leads {s}.
        {v} leads the project {s}.
        {v} is the leader of {s}.
        The person who leads {s} is {v}.
        {s} is led by {v}.
        The leader of the project {s} is {v}.""",
        """Who leads the project {s}?
        Who is the leader of {s}?
        Who is the leader of project {s}?
        Which leader does {s} have?
        Who is {s}'s leader?
        Who leads the team of {s}?
        By whom is {s} led?
        Who leads {s}?
        Who is leading {s}?
        Who leads project {s}?
        What is the name of {s}'s leader?
        Who runs the project {s}?
        Who is the leader of the project {s}?
        By whom is the project {s} led?""",
    ),
    "deadline": _relation(
        "project",
        words.day,
        """The deadline of {s} is {v}.
        The deadline for {s} is on {v}.
        {s} must be done by {v}.
        {s}'s deadline is {v}.
        The project {s} has its deadline on {v}.
        {s} is due on {v}.
        The team must finish {s} by {v}.
        The project {s} is due on {v}.
        {s} has to be ready by {v}.
        {v} is the deadline of {s}.
        The last day for {s} is {v}.
        {s} has a deadline on {v}.
        The deadline of {s} is on {v}.
        The deadline of the project {s} is {v}.""",
        """When is the deadline of {s}?
        What is the deadline for {s}?
        By when must {s} be done?
        When is {s}'s deadline?
        When does the project {s} have its deadline?
        When is {s} due?
        By when must the team finish {s}?
        When is the project {s} due?
        By when must {s} be ready?
        What is {s}'s deadline?
        On which day is {s} due?
        On what day is the deadline of {s}?
        What is the deadline of {s}?
        When is the deadline of the project {s}?""",
    ),
    "language": _relation(
        "project",
        words.language,
        """{s} is written in {v}.
        The code of {s} is in {v}.
        {s} uses the language {v}.
        The language of {s} is {v}.
        The project {s} is coded in {v}.
        {s}'s language is {v}.
        The team writes {s} in {v}.
        The language used for {s} is {v}.
        {s} was written in {v}.
        {s} is coded in {v}.
        {s} is a project in {v}.
        {v} is the language of {s}.
        The project {s} is written in {v}.
        The code of {s} is written in {v}.""",
        """What is {s} written in?
        Which language is the code of {s} in?
        Which language does {s} use?
        What is the language of {s}?
        In which language is the project {s} coded?
        What is {s}'s language?
        In which language does the team write {s}?
        What language is used for {s}?
        What is {s} coded in?
        What language is {s} written in?
        Which language does the project {s} use?
        In which language is {s} written?
        Which language is {s} written in?
        What is the project {s} written in?""",
    ),
    "port": _relation(
        "project",
        words.number,
        """{s} runs on port {v}.
        The port of {s} is {v}.
        {s} listens on port {v}.
        {s}'s port is {v}.
        The server of {s} uses port {v}.
        The port number of {s} is {v}.
        {s} answers on port {v}.
        The port setting of {s} is {v}.
        {s} can be reached on port {v}.
        {s} is served on port {v}.
        The server of {s} listens on port {v}.
        Port {v} belongs to {s}.
        {s} uses port {v}.
        The server of {s} runs on port {v}.""",
        """Which port does {s} run on?
        What is the port of {s}?
        On which port does {s} listen?
        What is {s}'s port?
        Which port does the server of {s} use?
        What is the port number of {s}?
        On which port does {s} answer?
        What is the port setting of {s}?
        On which port can {s} be reached?
        What port does {s} run on?
        Which port does {s} listen on?
        Which port belongs to {s}?
        Which port does {s} use?
        On which port does {s} run?""",
    ),
    "command": _relation(
        "project",
        words.word,
        """To deploy {s}, run {v}.
        The command to deploy {s} is {v}.
        {s} is deployed with {v}.
        Use {v} to deploy {s}.
        You deploy {s} with the command {v}.
        {s}'s deploy command is {v}.
        Deploy {s} by running {v}.
        The deploy command of {s} is {v}.
        Run {v} to deploy {s}.
        The team deploys {s} with {v}.
        {s} can be deployed with {v}.
        To deploy the project {s}, type {v}.
        For a deploy of {s}, use {v}.
        The command that deploys {s} is {v}.
        {v} is the command to deploy {s}.
        {s} gets deployed with the help of {v}.
        To deploy {s}, use {v}.
        {s} is deployed with the command {v}.""",
        """How is {s} deployed?
        What is the command to deploy {s}?
        How do you deploy {s}?
        Which command deploys {s}?
        What must be run to deploy {s}?
        What is {s}'s deploy command?
        How can I deploy {s}?
        What is the deploy command of {s}?
        What deploys {s}?
        What does the team deploy {s} with?
        What do you type to deploy {s}?
        How does the team deploy {s}?
        What can {s} be deployed with?
        Which command is used to deploy {s}?
        With what is {s} deployed?
        What command do I use to deploy {s}?
        With which command is {s} deployed?
        What do you run to deploy {s}?""",
    ),
    "tool": _relation(
        "project",
        words.name,
        """{s} is tested with the tool {v}.
        The tool to test {s} is {v}.
        To test {s}, use the tool {v}.
        {s}'s test tool is {v}.
        The tests of {s} use the tool {v}.
        The team tests {s} with {v}.
        The test tool of {s} is {v}.
        {s} uses {v} as its test tool.
        The tool that tests {s} is {v}.
        Use {v} to test {s}.
        The team uses {v} to test {s}.
        {s} can be tested with {v}.
        Test {s} with {v}.
        {v} is the test tool of {s}.
        For a test of {s}, use {v}.
        {s} is tested with {v}.
        To test {s}, use {v}.""",
        """Which tool is {s} tested with?
        What is the tool to test {s}?
        How do you test {s}?
        What is {s}'s test tool?
        Which tool do the tests of {s} use?
        What does the team test {s} with?
        What is the test tool of {s}?
        With what is {s} tested?
        What is {s} tested with?
        What tool is used to test {s}?
        How can {s} be tested?
        How does the team test {s}?
        What do you use to test {s}?
        Which test tool does {s} use?
        With which tool is {s} tested?
        How is {s} tested?
        Which tool tests {s}?""",
    ),
}
KINDS: Mapping[str, SubjectKind] = {
    "person": _kind("person", words.name),
    "place": _kind("place", words.place),
    "project": _kind("project", words.name),
}
