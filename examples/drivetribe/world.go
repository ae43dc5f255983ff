package main

// The demo world: invented people, their tribes, and what they wrote.

type person struct{ id, name string }

type tribeOf struct {
	id, name string
	founder  string
	members  []string // the founder is one only if named
}

type postOf struct {
	id, tribe, author, text string
	bumps                   int // by so many people, see bumpers
	comments                []commentOf
}

type commentOf struct{ author, text string }

var people = []person{
	{"maya", "Maya"}, {"tomasz", "Tomasz"}, {"ines", "Inês"}, {"kofi", "Kofi"},
	{"lena", "Lena"}, {"ravi", "Ravi"}, {"sofia", "Sofia"}, {"jonas", "Jonas"},
	{"amara", "Amara"}, {"yuki", "Yuki"}, {"pavel", "Pavel"}, {"nora", "Nora"},
}

var tribes = []tribeOf{
	{"hikers", "Ridge Walkers", "maya", []string{"maya", "tomasz", "ines", "lena", "jonas", "nora", "pavel", "amara", "kofi"}},
	{"sourdough", "Sourdough and Slow Bread", "ines", []string{"ines", "maya", "sofia", "nora", "yuki", "ravi", "lena"}},
	{"bikes", "Fix Your Own Bike", "tomasz", []string{"tomasz", "kofi", "pavel", "jonas", "maya", "ravi"}},
	{"allotment", "Allotment Diaries", "nora", []string{"nora", "ines", "amara", "sofia", "lena"}},
	{"film35", "35 mm", "yuki", []string{"yuki", "sofia", "kofi", "amara", "jonas"}},
	{"chess", "Sunday Chess", "pavel", []string{"pavel", "ravi", "tomasz", "yuki"}},
	{"stars", "Backyard Astronomy", "ravi", []string{"ravi", "jonas", "lena", "maya"}},
	{"synths", "Bedroom Synths", "kofi", []string{"kofi", "amara", "jonas"}},
}

var posts = []postOf{
	{"ridge-is-open", "hikers", "maya", "The north ridge is open again. Snow is gone down to the hut, only the gully still needs care before ten.", 11, []commentOf{
		{"tomasz", "Went up yesterday, the gully was fine with poles."}, {"lena", "Is the spring behind the hut running?"},
		{"maya", "It is, but slowly. Take two litres."}, {"nora", "Saturday, six o'clock, who is in?"}, {"jonas", "Me, and I have room for two in the car."}}},
	{"wet-boots", "hikers", "jonas", "What do you do with boots that never dry overnight? Newspaper gets me halfway.", 6, []commentOf{
		{"ines", "Change the newspaper after an hour, that is the trick."}, {"pavel", "Insoles out, always."}, {"kofi", "Rice is a myth, I tried."}}},
	{"first-overnight", "hikers", "lena", "First night out alone. Slept badly, woke up to a fox at arm's length, would do it again tomorrow.", 10, []commentOf{
		{"amara", "The fox decides me."}, {"maya", "It gets quieter the second night. Or you do."}}},
	{"map-or-phone", "hikers", "tomasz", "Phone died at minus four, paper map did not. That is the whole review.", 8, []commentOf{
		{"jonas", "Inner pocket, next to the sandwich."}, {"nora", "Paper map got soaked last week, so: both."}}},
	{"hut-soup", "hikers", "nora", "The hut has lentil soup again and they let you fill a flask for the way down.", 7, []commentOf{{"ines", "Leaving now."}}},
	{"lost-glove", "hikers", "pavel", "Found a left glove, grey wool, at the second cairn. It hangs on the signpost.", 4, nil},
	{"slow-group", "hikers", "amara", "A slow group on Sundays would be lovely: eight kilometres, many stops, somebody who knows birds.", 9, []commentOf{
		{"lena", "I know three birds. Count me in."}, {"kofi", "Slow is my only speed."}, {"maya", "I can lead the first one."}}},
	{"bus-timetable", "hikers", "ines", "The weekend bus to the trailhead leaves at 7:12 from May on, not 7:40. Ask me how I know.", 5, []commentOf{{"tomasz", "How do you know?"}}},
	{"knees", "hikers", "kofi", "Downhill hurts my knees more than uphill hurts my pride. Poles: yes or no?", 6, []commentOf{
		{"nora", "Yes, and shorter steps."}, {"pavel", "Poles. Set them longer on the way down."}}},
	{"sunrise-plan", "hikers", "maya", "Sunrise is at 5:20 on the summit next week. Leaving the car park at two, headlamps on, no talking before coffee.", 8, nil},
	{"blister-kit", "hikers", "lena", "My blister kit after ten years: tape, a needle, more tape.", 3, nil},

	{"starter-named", "sourdough", "ines", "My starter is two years old today. It has outlived three houseplants and a relationship.", 12, []commentOf{
		{"sofia", "Happy birthday to the only stable one."}, {"maya", "What flour do you feed it?"}, {"ines", "Rye in winter, wheat in summer."}, {"yuki", "Does it have a name?"}}},
	{"dense-crumb", "sourdough", "ravi", "Dense at the bottom, holes at the top, again. 75 percent water, four hours at 24 degrees. What am I missing?", 5, []commentOf{
		{"ines", "Two more hours. Go by the jar, not by the clock."}, {"nora", "Your starter may be young, feed it twice the day before."}, {"ravi", "Two more hours did it. Thank you."}}},
	{"cold-oven", "sourdough", "sofia", "Started in a cold oven to save power. Crust a little softer, crumb the same. I am not going back.", 7, []commentOf{{"lena", "How long in total?"}, {"sofia", "Fifty-five minutes, lid on for forty."}}},
	{"rye-only", "sourdough", "nora", "A loaf of nothing but rye, water and salt. It weighs as much as a brick and lasts about as long.", 6, nil},
	{"pan-loaf", "sourdough", "yuki", "For those without a stone: an upturned frying pan, preheated, works.", 8, []commentOf{{"ravi", "Iron or steel?"}, {"yuki", "Iron. Mind the handle."}}},
	{"discard-crackers", "sourdough", "maya", "Never throw the discard away: spread it thin, oil, salt, rosemary, twelve minutes. Crackers.", 9, []commentOf{{"ines", "Sesame instead of rosemary, also good."}}},
	{"salt-forgotten", "sourdough", "lena", "I forgot the salt. The birds in the yard are delighted.", 7, []commentOf{{"sofia", "We have all been there once. I have been there four times."}}},
	{"market-flour", "sourdough", "ines", "The mill at the Thursday market grinds while you wait. Ask for the coarse one.", 3, nil},
	{"scoring", "sourdough", "sofia", "One deep cut beats five pretty ones.", 4, nil},

	{"chain-life", "bikes", "tomasz", "Measured: a waxed chain, cleaned every 400 km, is at half its wear after 5,000. The oiled one before it was done.", 10, []commentOf{
		{"pavel", "Which wax?"}, {"tomasz", "Plain paraffin, and a slow cooker that never sees food again."}, {"kofi", "My kitchen has questions."}}},
	{"creak", "bikes", "kofi", "It creaks only when I pedal standing, only on the left. Bottom bracket?", 5, []commentOf{
		{"tomasz", "Take the seat post out first, grease it, put it back. Half of all creaks."}, {"jonas", "Then the pedals. The bracket is always last."}, {"kofi", "It was the pedal."}}},
	{"workshop-night", "bikes", "pavel", "Workshop night is on Wednesday from seven. Two stands, one truing jig, bring rags.", 7, []commentOf{{"maya", "I have a wheel that needs love."}}},
	{"tubeless-regret", "bikes", "jonas", "Sealant on the ceiling. Do not ask how. The tyre holds, though.", 9, []commentOf{{"ravi", "A photograph, please."}, {"pavel", "Everybody's first one."}}},
	{"old-steel", "bikes", "ravi", "Saved a steel frame from 1984 off the kerb. The head tube is straight, the rest is rust and hope.", 8, []commentOf{{"tomasz", "Oxalic acid for the rust. Hope is free."}}},
	{"winter-tyres", "bikes", "maya", "Studded tyres sound like frying bacon and I will not take questions until March.", 6, nil},
	{"cable-length", "bikes", "tomasz", "Measure twice, cut once, then buy another cable.", 5, nil},
	{"brake-rub", "bikes", "jonas", "Loosen the two bolts, squeeze the lever, tighten. That is all there is to a rubbing disc.", 4, nil},

	{"slug-news", "allotment", "nora", "The slugs have read the label on the copper tape and are laughing.", 9, []commentOf{
		{"amara", "Ducks."}, {"ines", "A board in the bed, turn it over every morning. Grim, but it works."}, {"nora", "I cannot have ducks, I asked."}}},
	{"first-beans", "allotment", "amara", "First beans up, eleven days after sowing under glass. I check them more often than my mail.", 7, []commentOf{{"lena", "Pictures or it is still soil."}}},
	{"compost-heat", "allotment", "sofia", "The heap is at 58 degrees inside. Layers of cardboard were what it lacked.", 5, []commentOf{{"nora", "Turn it now, it will go up once more."}}},
	{"seed-swap", "allotment", "ines", "Seed swap at the gate on the 14th. I bring three kinds of squash and far too much dill.", 6, nil},
	{"water-butt", "allotment", "lena", "One summer storm filled two barrels. We had planned a month for it.", 4, nil},
	{"tomato-names", "allotment", "amara", "I labelled every tomato. The rain unlabelled every tomato. We eat what we find.", 8, []commentOf{{"sofia", "Pencil on wood lasts, ink never."}}},
	{"quiet-evening", "allotment", "nora", "Seven in the evening, nobody there but a robin waiting for me to dig. A good office.", 7, nil},

	{"expired-roll", "film35", "yuki", "A roll that expired in 1997, found in a coat. Shot it two stops over: green shadows, wonderful skin.", 10, []commentOf{
		{"kofi", "Which coat, and are there more?"}, {"sofia", "Two stops is what I use too, one for each decade and none for luck."}}},
	{"light-leak", "film35", "kofi", "Orange streak on every third frame. New foam seals cost less than a coffee and an evening.", 6, []commentOf{{"yuki", "Scrape off all of the old foam first, it eats the new one."}}},
	{"developing-sink", "film35", "sofia", "Developed in the kitchen for the first time. Temperature held by a pasta pot. Negatives hang over the bath like laundry.", 8, []commentOf{
		{"amara", "My flatmates would evict me."}, {"jonas", "What did you use against dust?"}, {"sofia", "A hot shower before, then nobody breathes."}}},
	{"one-lens", "film35", "amara", "A month with nothing but the 50. I walk more, I crop less.", 5, nil},
	{"lab-scan", "film35", "jonas", "Asked the lab for flat scans and got flat everything. Scan at home or pay for the good ones.", 4, []commentOf{{"yuki", "A macro lens and a light table. Never looked back."}}},
	{"empty-camera", "film35", "amara", "Thirty-six frames of a wedding. There was no film in it. They laughed, luckily.", 11, []commentOf{
		{"kofi", "The rewind knob must turn. It must turn!"}, {"yuki", "It is a rite of passage."}}},
	{"contact-sheets", "film35", "yuki", "Contact sheets show how you think: eleven bad frames walking towards the twelfth.", 6, nil},

	{"rook-endings", "chess", "pavel", "Rook endings, week 3: the side with the worse king loses, the side with the worse rook loses faster.", 6, []commentOf{
		{"ravi", "And the side with me loses always."}, {"tomasz", "Position 4 is a draw, is it not?"}, {"pavel", "Only if you find the check from behind."}}},
	{"blunder-tea", "chess", "ravi", "I saw the fork, made tea, came back and walked into it.", 8, []commentOf{{"yuki", "The tea was the blunder."}}},
	{"clock-broken", "chess", "tomasz", "The old clock loses a minute an hour, and only on my side. I demand an inquiry.", 5, nil},
	{"sunday-pairs", "chess", "pavel", "Sunday: four boards, ten minutes each, start at three. Loser puts the pieces back.", 4, []commentOf{{"yuki", "Then I come early and learn the boxes."}}},
	{"en-passant", "chess", "yuki", "Taught my grandmother en passant. She used it within the hour, twice, smiling.", 9, nil},
	{"small-plans", "chess", "ravi", "My only plan that ever worked was to improve the worst piece.", 5, nil},

	{"saturn-rings", "stars", "ravi", "Saturn tonight, 90 mm refractor from the balcony. I have seen it a hundred times and still said oh.", 10, []commentOf{
		{"lena", "How late?"}, {"ravi", "It clears the roof at half past ten."}, {"jonas", "Saw it too, and the dog was not impressed."}}},
	{"dew-again", "stars", "jonas", "Dew on the mirror by eleven. A camping mat rolled into a tube helped more than the heater I bought.", 5, []commentOf{{"ravi", "Paint the inside black."}}},
	{"red-lamp", "stars", "lena", "Red bicycle lamp, two layers of tape: the cheapest night vision there is.", 6, []commentOf{{"maya", "Stealing this for sunrise walks."}}},
	{"perseids", "stars", "maya", "Forty-one meteors in an hour from the meadow behind the quarry, one of them loud. I know they are not loud.", 9, nil},
	{"street-light", "stars", "ravi", "The city turned off every second lamp in our street. I can see the seventh sister now.", 7, nil},
	{"sketching", "stars", "jonas", "Sketching the moon taught me more craters than five years of looking at it.", 3, nil},

	{"patch-from-rain", "synths", "kofi", "Recorded rain on the tin roof, stretched it forty times, and there is a choir in it.", 8, []commentOf{
		{"amara", "This is the nicest thing I heard all week."}, {"jonas", "Would you share the sample?"}}},
	{"one-knob", "synths", "amara", "New rule: one oscillator, one filter, one evening, one track. Finished three in a week.", 6, []commentOf{{"kofi", "Finished! A word I had forgotten."}}},
	{"hum-hunt", "synths", "jonas", "Hunted a 50 Hz hum for two days. It was the lamp. It is always the lamp.", 7, nil},
	{"tape-loop", "synths", "kofi", "A loop of tape around a bottle keeps time better than I do.", 5, nil},
	{"headphones-night", "synths", "amara", "Neighbour asked why it is so quiet lately. Headphones. She misses the bass.", 9, nil},
	{"broken-key", "synths", "jonas", "The low C sticks, so everything is in D now.", 4, nil},
}

// welcome comes last: where it is published, the world is whole.
var welcome = postOf{"welcome", "hikers", "maya",
	"Welcome to Drivetribe! Everything you see was sent as commands and lies in the log as events. Join a tribe, bump a post, write one.", 5,
	[]commentOf{{"tomasz", "Hello, whoever you are."}}}
