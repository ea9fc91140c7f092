// The manual's search, also from the disk: a page of file:// may read no file but scripts, so index and lunr come as such.
document.addEventListener("DOMContentLoaded", function () {
  var field = document.getElementById("properdocs-search-query");
  var list = document.getElementById("properdocs-search-results");
  var index = null;
  var pages = {};
  if (!field || !list) return;

  function load(name, then) {
    var script = document.createElement("script");
    script.src = base_url.replace(/\/$/, "") + "/search/" + name;
    script.onload = then;
    document.head.appendChild(script);
  }

  function start() {
    index = lunr(function () {
      this.ref("location");
      this.field("title", { boost: 10 });
      this.field("text");
      window.searchIndex.docs.forEach(function (page) {
        pages[page.location] = page;
        this.add(page);
      }, this);
    });
    search();
  }

  function found(words) {
    return index.query(function (query) {
      words.forEach(function (word) {
        query.term(word, { boost: 10 });
        query.term(word, { wildcard: lunr.Query.wildcard.TRAILING });
      });
    });
  }

  function shown(result) {
    var page = pages[result.ref];
    var article = document.createElement("article");
    var heading = article.appendChild(document.createElement("h3"));
    var link = heading.appendChild(document.createElement("a"));
    link.href = base_url.replace(/\/$/, "") + "/" + page.location;
    link.textContent = page.title;
    article.appendChild(document.createElement("p")).textContent = page.text.slice(0, 200);
    return article;
  }

  function search() {
    var words = field.value.toLowerCase().match(/[\p{L}\p{N}_-]{2,}/gu) || [];
    list.textContent = "";
    if (!index || !words.length) return;
    var results = found(words.map(function (word) { return lunr.stemmer(new lunr.Token(word)).toString(); })).slice(0, 30);
    results.forEach(function (result) { list.appendChild(shown(result)); });
    if (!results.length) list.textContent = "No results found";
  }

  field.addEventListener("input", search);
  load("lunr.js", function () { load("index.js", start); });
});
