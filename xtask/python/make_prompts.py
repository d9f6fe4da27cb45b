"""Writes prompts to learn from and prompts to measure on, which share neither a template nor a topic.

    python xtask/python/make_prompts.py fixtures/prompts
"""

import json
import random
import sys
from pathlib import Path

LEARNING_TEMPLATES = [
    "What is {}?",
    "Write a sentence about {}.",
    "Tell me about {}.",
    "Why do people like {}?",
    "Give me a tip about {}.",
    "How would you explain {} to a child?",
    "Say something kind about {}.",
    "What should I know about {}?",
    "Write two sentences about {}.",
    "What do you think of {}?",
]
EVALUATION_TEMPLATES = [
    "I would like to hear more about {}.",
    "Describe {} in a few words.",
    "Can you help me understand {}?",
    "Please make a short note on {}.",
    "My friend asked about {}. How could I reply?",
    "Is there a good story about {}?",
    "Which facts about {} matter most?",
    "Let us talk about {}.",
    "Begin a letter about {}.",
    "Where would one read of {} first?",
]
LEARNING_TOPICS = """
bread, tea, the sea, winter, rain, bicycles, trees, books, music, cats, dogs, salt, maps, clocks, bridges, gardens,
honey, bees, rice, soup, chess, poems, letters, stones, gold, iron, rivers, lakes, clouds, wind, stars, the Moon,
sleep, dreams, walking, running, swimming, painting, singing, dancing, cooking, fishing, farms, horses, sheep, wool,
paper, ink, glass, sand, fire, candles, doors, windows, roofs, streets, towns, markets, money, taxes, laws, judges,
schools, teachers, doctors, nurses, ships, trains, cars, roads, mountains, valleys, forests, islands, harbors, birds
"""
EVALUATION_TOPICS = """
milk, coffee, the ocean, summer, snow, boats, flowers, stories, songs, rabbits, cows, sugar, globes, watches, towers,
parks, jam, ants, wheat, cheese, cards, plays, stamps, shells, silver, copper, streams, ponds, storms, thunder,
planets, the Sun, rest, memory, climbing, jumping, rowing, drawing, whistling, acting, baking, hunting, mills, goats,
ducks, silk, wood, pencils, clay, dust, smoke, lamps, keys, walls, stairs, squares, villages, shops, trade, votes,
courts, guards, colleges, students, healers, cooks, canoes, buses, wagons, paths, hills, caves, deserts, coasts, ports,
owls, peace, war, friends, parents, children, work, holidays, hope, anger, time, light, sound, heat, ice, bells,
drums, hats, shoes, coats, gloves, apples, pears, plums, nuts, corn, beans
"""


def topics(text):
    return [topic.strip() for topic in text.replace("\n", " ").split(",")]


def prompts(templates, names, seed):
    every = [template.format(name) for template in templates for name in names]
    random.Random(seed).shuffle(every)
    assert len(set(every)) == len(every)
    return every


def main():
    folder = Path(sys.argv[1])
    assert not set(topics(LEARNING_TOPICS)) & set(topics(EVALUATION_TOPICS))
    sets = {
        "learning": prompts(LEARNING_TEMPLATES, topics(LEARNING_TOPICS), 1),
        "evaluation": prompts(EVALUATION_TEMPLATES, topics(EVALUATION_TOPICS), 2),
    }
    for name, texts in sets.items():
        rows = [json.dumps({"messages": [{"role": "user", "content": text}]}) for text in texts]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
        print(f"{name}: {len(texts)} prompts")


if __name__ == "__main__":
    main()
